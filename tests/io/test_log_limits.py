"""Callers and apps do not choose the size of the log."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from osm_healthcheck.server.logs import (
    ALL_BURST,
    ALL_PER_SECOND,
    MAX_TEXT,
    NOTICES_PER_SECOND,
    TARGET_BURST,
    TARGET_PER_SECOND,
    Log,
    make_log,
)
from osm_healthcheck.server.rate_limit import RateLimit
from osm_healthcheck.server.results import MAX_UNDECLARED_TARGETS
from tests.io.apps import app, hold, http_app, response
from tests.io.sidecar import HEALTHCHECK, Sidecar, http_probe, sidecar, tcp_probe
from tests.io.wire import closed_port, get

RESULT, NOTICE = "probe result", "log lines left out"


def bound(burst: int, per_second: float, started: float) -> float:
    return burst + per_second * (time.monotonic() - started)


def left_out(running: Sidecar) -> float:
    """The lines that the sidecar says it left out."""
    return float(sum(line["lines"] for line in running.logged(NOTICE)))


def dropped_by_limit(running: Sidecar) -> float:
    """The lines that were left out, as /metrics has them."""
    body = get(running.address, HEALTHCHECK, "/metrics").body.decode()
    name = 'osm_healthcheck_log_lines_dropped_total{reason="rate_limit"}'
    (line,) = (line for line in body.splitlines() if line.startswith(name))
    return float(line.rpartition(" ")[2])


def wait_until_told(running: Sidecar, port: int, lines: float) -> None:
    """Check ``port``, whose state is logged, until so many lines are said to be left out."""
    while left_out(running) < lines:
        running.check(port)


@pytest.fixture
def steady() -> Iterator[int]:
    """The port of an app that is always there."""
    with app(hold) as target:
        yield target.port


def test_a_target_that_changes_with_every_probe_has_a_few_lines_a_second(steady: int) -> None:
    times = 300
    started = time.monotonic()
    with http_app(*(response(), response("500 Oh no")) * (times // 2)) as web:
        probes = {
            "web": {"livenessProbe": http_probe(web.port)},
            "steady": {"livenessProbe": tcp_probe(steady)},
        }
        with sidecar(probes) as running:
            for _ in range(times):
                running.probe("liveness", "web")
            target = f"http://:{web.port}/"
            logged = [line for line in running.logged(RESULT) if line["target"] == target]
            assert len(logged) <= bound(TARGET_BURST, TARGET_PER_SECOND, started)
            # what returns to the result that was logged last is no change, and not left out
            attempts = times - len(logged)
            count = dropped_by_limit(running)
            assert (attempts - bound(1, TARGET_PER_SECOND, started)) / 2 <= count <= attempts
            wait_until_told(running, steady, count)
            assert left_out(running) == count
    assert len(running.logged(NOTICE)) <= bound(1, NOTICES_PER_SECOND, started)


def test_ports_past_those_that_are_counted_have_a_few_lines_a_second(steady: int) -> None:
    started = time.monotonic()
    with closed_port() as closed, sidecar() as running:
        for number in range(MAX_UNDECLARED_TARGETS):
            running.check(20000 + number)
        before = len(running.logged(RESULT))
        for _ in range(100):
            running.check(steady)
            running.check(closed)
        others = len(running.logged(RESULT)) - before
        assert others <= bound(TARGET_BURST, TARGET_PER_SECOND, started)


def test_all_targets_together_have_a_few_lines_a_second(steady: int) -> None:
    started = time.monotonic()
    count = MAX_UNDECLARED_TARGETS - 1
    with sidecar() as running:
        running.check(steady)
        for _ in range(3):
            for number in range(count):
                running.check(20000 + number)
        logged = len(running.logged(RESULT))
        assert logged <= bound(ALL_BURST, ALL_PER_SECOND, started)
        # debug is on: the same result again is a line as well
        wait_until_told(running, steady, 3 * count + 1 - logged)
    assert left_out(running) == 3 * count + 1 - logged


def test_the_last_word_on_a_target_is_true() -> None:
    def last_word() -> Any:
        changes = [line for line in running.logged(RESULT) if line["level"] != "debug"]
        return changes[-1]["result"]

    # The log has room for five lines, the last of them a success; then the app stays sick.
    answers = [response(), response("500 Oh no")] * 20
    with http_app(*answers) as web:
        probes = {"web": {"livenessProbe": http_probe(web.port)}}
        with sidecar(probes) as running:
            for _ in answers:
                running.probe()
            while last_word() != "failure":
                running.probe()


def test_a_line_has_a_bounded_length() -> None:
    service = "s" * 7900
    with closed_port() as closed:
        probe = {"grpc": {"port": closed, "service": service}}
        with sidecar({"app": {"livenessProbe": probe}}) as running:
            running.grpc(closed, service)
            (line,) = running.logged(RESULT)
    assert len(json.dumps(line)) < 4 * MAX_TEXT
    assert line["target"].startswith(f"grpc://:{closed}/sss")
    assert line["target"].endswith("…")


class Recorder:
    """A logger that keeps what it is told; from ``level`` on."""

    def __init__(self, level: int = 0) -> None:
        self.level = level
        self.lines: list[tuple[int, str, dict[str, Any]]] = []

    def is_enabled_for(self, level: int) -> bool:
        return level >= self.level

    def log(self, level: int, message: str, **fields: Any) -> None:
        if self.is_enabled_for(level):
            self.lines.append((level, message, fields))


def test_errors_are_limited_too_and_told_where_only_they_are_shown() -> None:
    now = 1000.0
    logger = Recorder(level=40)
    log = Log(logger, clock=lambda: now)
    for _ in range(TARGET_BURST + 20):
        log.asyncio_error(None, {"message": "a bug", "exception": ValueError()})  # type: ignore[arg-type]
    assert [line[1] for line in logger.lines if line[1] != NOTICE] == ["a bug"] * TARGET_BURST
    now += 10
    log.error("another")
    assert logger.lines[-2:] == [
        (40, NOTICE, {"lines": 19}),
        (40, "another", {"exc_info": None}),
    ]
    assert log.lines_left_out == 20


@pytest.mark.parametrize(("one_target", "burst", "per_second"), [(True, 5, 1), (False, 60, 3)])
def test_so_many_lines_at_once_and_a_second_as_the_docs_say(
    one_target: bool, burst: int, per_second: int
) -> None:
    now = 1000.0
    logger = Recorder()
    log = Log(logger, clock=lambda: now)
    limit = RateLimit(TARGET_PER_SECOND, TARGET_BURST)

    def written() -> int:
        def new() -> RateLimit:
            return limit if one_target else RateLimit(TARGET_PER_SECOND, TARGET_BURST)

        return sum(log.limited(20, new(), RESULT) for _ in range(100))

    assert written() == burst
    for seconds in (1, 4):
        now += seconds
        assert written() == per_second * seconds


@pytest.mark.parametrize("length", [512, 513])
def test_a_text_of_512_characters_is_whole(length: int) -> None:
    logger = Recorder()
    log = Log(logger)
    log.limited(20, RateLimit(TARGET_PER_SECOND, TARGET_BURST), RESULT, reason="x" * length)
    [(_, _, fields)] = logger.lines
    assert fields == {"reason": "x" * 512 if length == 512 else "x" * 511 + "…"}


def test_what_is_not_shown_takes_no_room() -> None:
    log, _ = make_log("error", "json")
    probe = log._errors
    assert all(log.limited(20, probe, "x") for _ in range(1000))
    assert log.lines_left_out == 0


def test_the_metric_counts_what_is_left_out() -> None:
    with sidecar() as running:
        for number in range(ALL_BURST + 40):
            running.check(20000 + number)
        # the limit on those that share a tally is the first that is reached
        assert len(running.logged(RESULT)) + dropped_by_limit(running) == ALL_BURST + 40
