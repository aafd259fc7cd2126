"""What osm-healthcheck costs, measured against what it could cost.

``python -m tests.bench --help`` says how to run it. Four measurements:

``check``   CPU and latency of one tcpSocket check, against the floor that Python and uvloop
            allow, aiohttp's low-level server and an ordinary aiohttp application.
``proxy``   CPU, latency and memory of one proxied httpGet probe, against a real Envoy with the
            probe listener that Open Service Mesh gives it.
``life``    time from exec to the first 200, memory idle and after many probes, descriptors and
            TIME_WAIT sockets, against an ordinary aiohttp + uvloop + structlog server.
``attacked`` deadlines and latencies while an app floods its probes, and under a flood of scrapes,
            against the same in calm.

How the figures are made comparable:

- A connection per probe, one at a time, as the kubelet does it.
- Servers run on one core; the load, and the apps that the servers ask, run on another.
- Competitors take turns within every round, in slices and in rotating order, so a busy neighbour
  slows all of them alike. Ratios are taken within a round, and then their median over the rounds;
  they may differ a little from the ratio of the medians.
- Only the server's CPU counts: the scheduler's own account of its threads, in nanoseconds.
- Latency is what a client in Python sees, which is the same for all.
- A probe that is not answered by 200 ends the run with an error: a wrong answer has no price.

With one core only, everything shares it: CPU figures still hold, latencies say little.
"""
