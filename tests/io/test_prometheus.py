"""Alert rules and dashboard, by Prometheus itself, against what the programs really export."""

import asyncio
import json
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from osm_healthcheck.injector.metrics import Metrics
from osm_healthcheck.node import metrics as node_metrics
from tests.io.apps import app, hold, http_app, response
from tests.io.sidecar import HEALTHCHECK, capture, http_probe, sidecar, tcp_probe
from tests.io.wire import closed_port, get, own_address

FILES = Path(__file__).parents[2] / "charts" / "osm-healthcheck" / "files"
ALERTS, DASHBOARD = FILES / "alerts.yaml", FILES / "dashboard.json"
PORT = 9090
OTHER_PROGRAMS = ("Injector", "Node mode")
VARIABLES = {
    "$namespace": ".*",
    "$pod": ".*",
    "$__rate_interval": "1m",
}


def program(name: str) -> str:
    """The path of one of Prometheus' programs, or the test is skipped."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name} (Debian's prometheus)")
    return found


def queries() -> list[tuple[str, str, str]]:
    """The row, the panel's title and the expression of every query of the dashboard."""
    found = []
    row = ""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        if panel["type"] == "row":
            row = panel["title"]
        for target in panel.get("targets", ()):
            expression = target["expr"]
            for name, value in VARIABLES.items():
                expression = expression.replace(name, value)
            found.append((row, panel["title"], expression))
    return found


def expressions() -> list[str]:
    """Every expression of the dashboard and of the alerts."""
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    rules = [rule["expr"] for group in groups for rule in group["rules"]]
    return [*rules, *(expression for _, _, expression in queries())]


def exported(page: str) -> set[str]:
    """The names of the series of a page of metrics, those without samples yet included."""
    names = set()
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", page, re.MULTILINE):
        names |= (
            {f"{name}{end}" for end in ("_bucket", "_sum", "_count")}
            if (kind == "histogram")
            else {name}
        )
    return names


def test_the_alerts_fire_when_they_should_and_only_then() -> None:
    promtool = program("promtool")
    tests = Path(__file__).parent / "alerts_test.yaml"
    for arguments in (["check", "rules", str(ALERTS)], ["test", "rules", str(tests)]):
        done = subprocess.run(
            [promtool, *arguments], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr
    named = re.findall(r"alert: (\w+)", ALERTS.read_text())
    assert [name for name in named if name not in tests.read_text()] == []


def test_alerts_and_dashboard_ask_for_what_is_exported() -> None:
    with sidecar() as running:
        names = exported(get(running.address, HEALTHCHECK, "/metrics").body.decode())
    log = capture([])
    names |= exported(Metrics(log, lambda: 0).render().decode())
    agent: Any = SimpleNamespace(log=log, served={}, refused={}, is_available=True)
    names |= exported(asyncio.run(node_metrics.render(agent)).decode())
    for expression in expressions():
        for name in re.findall(
            r"osm_healthcheck_\w+", expression.replace("(node_|injector_)?", "")
        ):
            assert name in names, expression


def ask(address: str, expression: str) -> list[dict[str, Any]]:
    """What Prometheus has for an expression at this moment."""
    query = urllib.parse.urlencode({"query": expression})
    url = f"http://{address}:{PORT}/api/v1/query?{query}"
    with urllib.request.urlopen(url, timeout=20) as answer:
        found = json.load(answer)
    assert found["status"] == "success", found
    return list(found["data"]["result"])


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The address of a Prometheus, and that of the sidecar which it scrapes."""
    binary = program("prometheus")
    address, target = own_address(), own_address()
    config = tmp_path / "prometheus.yml"
    config.write_text(
        f"""
global: {{scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}}
rule_files: [{ALERTS}]
scrape_configs:
  - job_name: sidecar
    static_configs:
      - targets: ["{target}:{HEALTHCHECK}"]
        labels: {{namespace: shop, pod: bookstore-0}}
"""
    )
    with (tmp_path / "log").open("w+") as log:
        process = subprocess.Popen(
            [
                binary,
                f"--config.file={config}",
                f"--storage.tsdb.path={tmp_path / 'data'}",
                f"--web.listen-address={address}:{PORT}",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            while True:
                assert process.poll() is None, (tmp_path / "log").read_text()
                try:
                    urllib.request.urlopen(f"http://{address}:{PORT}/-/ready", timeout=20).close()
                    break
                except OSError:
                    continue
            yield address, target
        finally:
            process.terminate()
            process.wait(20)


def test_every_query_of_the_dashboard_has_an_answer(prometheus: tuple[str, str]) -> None:
    address, target = prometheus
    with (
        http_app(response()) as web,
        app(hold) as tcp,
        closed_port() as closed,
        sidecar(
            {
                "web": {"livenessProbe": http_probe(web.port)},
                "db": {"livenessProbe": tcp_probe(tcp.port), "readinessProbe": tcp_probe(closed)},
            },
            address=target,
        ) as running,
    ):
        assert running.probe("liveness").status == 200
        assert running.check(tcp.port).status == 200
        assert running.check(closed).status == 404
        # a rate takes two scrapes
        while not ask(
            address, 'count_over_time(osm_healthcheck_probes_total{result="refused"}[1m]) > 2'
        ):
            pass
        # its counter has to grow while Prometheus looks
        alert = 'ALERTS{alertname="OSMHealthcheckProbeFails", alertstate="pending"}'
        while not (pending := ask(address, alert)):
            running.check(closed)
        answers = {(row, title, one): ask(address, one) for row, title, one in queries()}
    assert pending[0]["metric"]["target"] == f"tcp://:{closed}"
    empty = [key for key, found in answers.items() if not found and key[0] not in OTHER_PROGRAMS]
    assert empty == []
    values = {title: found[0]["value"][1] for (_, title, _), found in answers.items() if found}
    assert values["Probes failing now"] == "1"
    assert values["Probes passing now"] == "2"
    (failing,) = next(v for (_, title, _), v in answers.items() if title == "Probes that fail")
    assert failing["metric"]["containers"] == "db"
    assert failing["metric"]["pod"] == "bookstore-0"
