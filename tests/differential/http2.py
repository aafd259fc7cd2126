"""What Kubernetes makes of apps that speak HTTP/2, and what it sends them: ``go-http2.json``.

``python -m tests.differential --record`` asks again and writes the file anew: run it twice, and put
``null`` in the place of a text that varies, where it stays.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.differential.kubernetes import KubernetesProber
from tests.io.go_http2 import FILE, in_its_terms, patience
from tests.io.http2_cases import FINE, GRPC, HTTPS, one, talker
from tests.io.http2_requests import REQUESTS, seen
from tests.io.tls import server_context

KINDS = ("https", "grpc", "requests")
# Go's word for any end of a connection that it sees before it has begun a request on it
_TOO_SOON = "http2: client conn could not be established"
_TRIES = 10


def ask_kubernetes(program: Path, kind: str) -> Iterator[tuple[str, list[Any]]]:
    """By name, what the prober that was built as ``program`` comes to, as the file has it."""
    prober = KubernetesProber(program)
    try:
        yield from _requests(prober) if kind == "requests" else _answers(prober, kind)
    finally:
        prober.close()


def _answers(prober: KubernetesProber, kind: str) -> Iterator[tuple[str, list[Any]]]:
    cases, tls = (HTTPS, server_context("h2")) if kind == "https" else (GRPC, None)
    known = json.loads(FILE.read_text())[kind]
    with talker(tls) as app:
        handler: dict[str, Any] = {"grpc": {"port": app.port}}
        if kind == "https":
            handler = {"httpGet": {"path": "/", "port": app.port, "scheme": "HTTPS"}}
        for name, case in cases.items():
            seconds = patience(kind, name) if name in known else 1
            for _ in range(_TRIES):
                app.play(case)
                found = prober.run_probe(handler, "127.0.0.1", {}, seconds)
                result, text = in_its_terms(found.result, found.output, found.error, app.port)
                if _TOO_SOON not in text:
                    break
            varies = name in known and known[name][1] is None
            yield name, [result, None if varies else text]


def _requests(prober: KubernetesProber) -> Iterator[tuple[str, list[Any]]]:
    for name, declared in REQUESTS.items():
        headers = [{"name": name, "value": value} for name, value in declared]
        with talker(server_context("h2")) as app:
            app.play(one(FINE))
            action = {"path": "/x?y", "port": app.port, "scheme": "HTTPS", "httpHeaders": headers}
            found = prober.run_probe({"httpGet": action}, "127.0.0.1", {}, 10)
            concluded = in_its_terms(found.result, found.output, found.error, app.port)
            yield name, [*concluded, seen(app)]


def record(program: Path) -> None:
    """Write down what the prober that was built as ``program`` comes to."""
    content = json.loads(FILE.read_text())
    kinds = []
    for kind in KINDS:
        lines = [
            f"  {_text(name)}: {_text(found)}" for name, found in ask_kubernetes(program, kind)
        ]
        kinds.append(f" {_text(kind)}: {{\n" + ",\n".join(lines) + "\n }")
    head = [f" {_text(name)}: {_text(content[name])}" for name in content if name not in KINDS]
    FILE.write_text("{\n" + ",\n".join([*head, *kinds]) + "\n}\n")


def _text(value: object) -> str:
    return json.dumps(value)
