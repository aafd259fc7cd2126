"""Run inside a pod's namespace: probes of apps that listen on one address only.

Prints the statuses as JSON, by what was asked.
"""

import json

from tests.io.apps import app, hold, http_app, response
from tests.io.sidecar import http_probe, sidecar, tcp_probe
from tests.net.namespace import POD_IP


def main() -> None:
    """Ask each app through a sidecar at the pod's address, as the kubelet does."""
    statuses: dict[str, int] = {}
    for where, address in (("pod IP", POD_IP), ("loopback", "127.0.0.1"), ("any", "0.0.0.0")):
        with http_app(response(), address=address) as web, app(hold, address) as listener:
            probes = {
                "app": {
                    "livenessProbe": http_probe(web.port),
                    "readinessProbe": tcp_probe(listener.port),
                }
            }
            with sidecar(probes, address=POD_IP) as running:
                statuses[f"http on {where}"] = running.probe().status
                statuses[f"tcp on {where}"] = running.check(listener.port).status
            with sidecar(None, address=POD_IP) as running:
                statuses[f"undeclared tcp on {where}"] = running.check(listener.port).status
            with sidecar(probes, "--target-host", "127.0.0.1", address=POD_IP) as running:
                statuses[f"http on {where}, --target-host"] = running.probe().status
    with http_app(response()) as web:
        probes = {"app": {"livenessProbe": http_probe(web.port)}}
        for name, networks in (("inside", f"{POD_IP}/32"), ("outside", "198.51.100.0/24")):
            with sidecar(
                probes, "--allow-from", networks, "--target-host", "127.0.0.1", address=POD_IP
            ) as running:
                statuses[f"caller {name} --allow-from"] = running.probe().status
    print(json.dumps(statuses))


if __name__ == "__main__":
    main()
