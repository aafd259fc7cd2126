"""The benchmark runs and says what it should; how fast anything was is not judged here."""

import itertools
import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bench import go_daemon, load, sidecar
from tests.bench.errors import LeftOutError
from tests.bench.servers.flooding_app import NAMES as FLOODS
from tests.bench.tcp_servers import APPLICATION, FLOOR, HANDLER

PROJECT = Path(__file__).parents[2]


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.bench", *arguments],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=100,
    )


@pytest.mark.slow
def test_check_writes_a_table_and_json(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    ran = bench("check", "--quick", "--json", str(path))
    assert ran.returncode == 0, ran.stderr
    assert "| **osm-healthcheck** " in ran.stdout

    document: dict[str, Any] = json.loads(path.read_text())
    assert document["format"] == 1
    assert document["python"]["version"].startswith("3.")
    (measurement,) = document["measurements"]
    assert measurement["name"] == "check"
    assert next(iter(measurement["servers"])) == "osm-healthcheck"
    assert measurement["servers"].keys() >= {sidecar.NEW_HEADS, FLOOR, HANDLER, APPLICATION}
    for server in measurement["servers"].values():
        assert len(server["rounds"]) == 1
        assert server["median"] == server["rounds"][0]
        for figure in ("cpu_us", "x_handler", "x_floor", "p50_us", "p99_us", "rss_bytes"):
            assert server["median"][figure] > 0
    if go_daemon.NAME not in measurement["servers"]:
        assert f"{go_daemon.NAME} is left out: " in ran.stdout
    for target in measurement["targets"]:
        if target["measured"] is not None:
            assert target["met"] is (target["measured"] <= target["limit"])
        else:
            assert go_daemon.NAME not in measurement["servers"]


@pytest.mark.slow
def test_who_is_attacked_is_measured_beside_calm(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    ran = bench("attacked", "--quick", "--json", str(path))
    assert ran.returncode == 0, ran.stderr
    floods, scrapes = json.loads(path.read_text())["measurements"]
    for measurement in (floods, scrapes):
        calm, *attacks = measurement["servers"].values()
        assert attacks
        for row in (calm, *attacks):
            for figure in calm["median"].keys() - {"failed", "late", "latest"}:
                assert row["median"][figure] > 0
        assert all(target["measured"] is not None for target in measurement["targets"])
    for name in FLOODS:  # they last until the deadline, or there is none to be late
        assert floods["servers"][name]["median"]["took"] > 900


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("check", "--rounds", "0"),
        ("check", "--python", "/nowhere/python"),
        ("life", "--root", "/nowhere"),
    ],
)
def test_bad_usage_is_exit_code_2_and_a_message(arguments: tuple[str, ...]) -> None:
    ran = bench(*arguments)
    assert ran.returncode == 2
    assert "bench" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_stranger_never_sends_the_same_head_twice() -> None:
    usual = next(load.tcp_check(15904, app_port=8080).requests)
    heads = list(
        itertools.islice(load.never_the_same(load.tcp_check(15904, app_port=8080)).requests, 1000)
    )
    assert len(set(heads)) == 1000
    assert len({len(head) for head in heads}) == 1
    for head in heads:
        lines = head.split(b"\r\n")
        assert b"\r\n".join((lines[0], *lines[2:])) == usual


def test_without_go_its_daemon_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(LeftOutError, match="left out: there is no Go"):
        go_daemon.binary(tmp_path)


def test_where_its_port_is_taken_the_go_daemon_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "osm-healthcheck-v1.2.4-go1.26").touch()
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with socket.create_server(("", 0)) as taken:
        monkeypatch.setattr(go_daemon, "PORT", taken.getsockname()[1])
        with pytest.raises(LeftOutError, match=r"can only listen on \d+: Address already"):
            go_daemon.binary(tmp_path)
