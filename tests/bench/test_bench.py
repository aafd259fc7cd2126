"""The benchmark runs and says what it should; how fast anything was is not judged here."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

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
    assert "| osm-healthcheck " in ran.stdout

    document: dict[str, Any] = json.loads(path.read_text())
    assert document["format"] == 1
    assert document["python"]["version"].startswith("3.")
    (measurement,) = document["measurements"]
    assert measurement["name"] == "check"
    assert next(iter(measurement["servers"])) == "osm-healthcheck"
    assert len(measurement["servers"]) == 4
    for server in measurement["servers"].values():
        assert len(server["rounds"]) == 1
        assert server["median"] == server["rounds"][0]
        for figure in ("cpu_us", "x_handler", "x_floor", "p50_us", "p99_us", "per_second"):
            assert server["median"][figure] > 0
    for target in measurement["targets"]:
        assert target["met"] is (target["measured"] <= target["limit"])


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
