"""What injection costs: pods a second as a stream of YAML and of JSON, and the rewrite alone.

    python -m tests.bench.inject [DOCUMENTS]

The stream is what a user runs: a process of its own, from pipe to pipe, its start included.
"""

import json
import subprocess
import sys
import time
from typing import Any

from osm_healthcheck import __version__
from osm_healthcheck.injection.containers import Images
from osm_healthcheck.injection.inject import Injection, inject
from osm_healthcheck.injection.uninject import uninject
from osm_healthcheck.manifests.nodes import compose, value_of
from osm_healthcheck.mesh.annotations import MESHES

_INJECTION = Injection(MESHES["none"], Images("sidecar:1", "init:1"), __version__)
_OPTIONS = {"inject": ("--mesh", "none")}
_DOCUMENT = """\
# One of many.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web-{number}
  namespace: shop
spec:
  replicas: 3
  selector:
    matchLabels: {{app: web-{number}}}
  template:
    metadata:
      labels:
        app: web-{number}
    spec:
      containers:
        - name: web
          image: nginx:1.25
          ports:
            - name: http
              containerPort: 8080
          env:
            - name: MODE
              value: "fast"
          livenessProbe:
            httpGet:
              path: /healthz   # cheap
              port: http
            periodSeconds: 5
          readinessProbe:
            tcpSocket:
              port: 8080
          resources:
            requests: {{cpu: 100m, memory: 128Mi}}
            limits:
              memory: 128Mi
        - name: worker
          image: worker:1
          livenessProbe:
            grpc:
              port: 50051
"""


def main() -> None:
    """Measure, and print one line a figure."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    documents = [_DOCUMENT.format(number=number) for number in range(count)]
    values = [_read(text) for text in documents[:1000]]
    _report("rewrite alone", len(values), lambda: [inject(one, _INJECTION) for one in values])
    injected = [inject(one, _INJECTION).manifest for one in values]
    _report("rewrite of injected", len(values), lambda: [inject(x, _INJECTION) for x in injected])
    _report("undo alone", len(values), lambda: [uninject(one, __version__) for one in injected])
    stream = "---\n".join(documents)
    after = _report("inject, YAML stream", count, lambda: _run("inject", stream))
    _report("inject again, YAML stream", count, lambda: _run("inject", after))
    _report("uninject, YAML stream", count, lambda: _run("uninject", after))
    as_json = "\n".join(json.dumps(_read(text)) for text in documents)
    _report("inject, JSON stream", count, lambda: _run("inject", as_json))


def _read(text: str) -> Any:
    root = compose(text)
    return value_of(root) if root else None


def _run(command: str, text: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "osm_healthcheck", command, *_OPTIONS.get(command, ())],
        input=text,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


def _report(what: str, count: int, work: Any) -> Any:
    started = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - started
    print(f"{what:<28}{count / seconds:>8.0f} pods/s   {seconds:.2f} s for {count}")
    return result


if __name__ == "__main__":
    main()
