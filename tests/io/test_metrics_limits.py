"""/metrics under attack: what callers say is not kept, what they do not read is not held."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from osm_healthcheck.server import page as page_module
from osm_healthcheck.server.page import MAX_READERS, PAGE_SECONDS
from osm_healthcheck.server.results import MAX_UNDECLARED_TARGETS, OTHER
from tests.io.apps import app, hold
from tests.io.attacked_pod import MEMORY_LIMIT_KB, open_files, peak_kb, pod
from tests.io.grpc_apps import grpc_server
from tests.io.sidecar import HEALTHCHECK, Sidecar, process, sidecar, tcp_probe
from tests.io.wire import connect, get, parse, read_to_end

REQUEST = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


def scrape(address: str) -> str:
    answer = get(address, HEALTHCHECK, "/metrics")
    assert (answer.status, answer.whole) == (200, True)
    return answer.body.decode()


def fill_up(running: Sidecar) -> None:
    """Let the page be as long as it can be where nothing is declared."""
    for number in range(MAX_UNDECLARED_TARGETS + 1):
        running.check(20000 + number)


def unread(address: str) -> socket.socket:
    """A scrape that takes as little as it can, and reads none of it."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    sock.settimeout(20)
    sock.connect((address, HEALTHCHECK))
    sock.sendall(REQUEST)
    return sock


def value(page: str, name: str, **labels: str) -> float:
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                return sample.value
    return 0.0


def test_nothing_that_a_caller_made_up_becomes_a_label() -> None:
    with grpc_server() as server, sidecar() as running:
        target = server.port
        for number in range(3):
            assert running.grpc(target, f"made-up-{number}-" + "x" * 7000).status == 503
        fill_up(running)
        page = scrape(running.address)
    assert "made-up" not in page
    targets = {
        sample.labels["target"]
        for family in text_string_to_metric_families(page)
        if family.name == "osm_healthcheck_probes"
        for sample in family.samples
    }
    tcp = {f"tcp://:{20000 + number}" for number in range(MAX_UNDECLARED_TARGETS - 3)}
    assert targets == {f"grpc://:{target}", *tcp, OTHER}
    assert (
        value(page, "osm_healthcheck_probes_total", target=f"grpc://:{target}", result="failure")
        == 3
    )


def test_readers_that_do_not_read_make_room_for_others() -> None:
    with process() as running, contextlib.ExitStack() as stack:
        running.wait_for("ready")
        fill_up(Sidecar(running.address, running.lines))
        before = peak_kb(running.popen.pid)
        attackers = []
        for _ in range(MAX_READERS + 30):
            attackers.append(stack.enter_context(unread(running.address)))
            scrape(running.address)
        # the first are broken off: what comes to an end is less than was announced
        for attacker in attackers[:30]:
            raw, orderly = read_to_end(attacker)
            assert not orderly or not parse(raw, orderly).whole
        assert peak_kb(running.popen.pid) - before < 4 * 1024
        assert peak_kb(running.popen.pid) < MEMORY_LIMIT_KB


def test_one_that_never_reads_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "READ_SECONDS", 0.05)
    monkeypatch.setattr(page_module, "PAGE_SECONDS", 0.0)  # each page counts anew
    with sidecar() as running:
        fill_up(running)
        with unread(running.address) as sock:
            while value(scrape(running.address), "osm_healthcheck_connections_open") > 1:
                pass
            raw, orderly = read_to_end(sock)
    assert not orderly or not parse(raw, orderly).whole


def test_a_slow_reader_gets_one_page_to_its_end() -> None:
    with sidecar() as running:
        fill_up(running)
        with unread(running.address) as slow:
            raw = slow.recv(1000)
            first = scrape(running.address)
            running.check(20000)
            while scrape(running.address) == first:
                pass
            while piece := slow.recv(1000):
                raw += piece
    answer = parse(raw, True)
    assert answer.whole
    assert value(answer.body.decode(), "osm_healthcheck_probes_total", target="tcp://:20000") == 1


def test_the_page_is_rendered_at_most_once_a_second() -> None:
    with app(hold) as target, sidecar({"app": {"livenessProbe": tcp_probe(target.port)}}) as it:
        started = time.monotonic()
        pages = set()
        for _ in range(60):
            it.check(target.port)  # a fresh page would have another count
            pages.add(scrape(it.address))
        assert len(pages) <= 1 + (time.monotonic() - started) / PAGE_SECONDS
        last = pages.copy()
        while (page := scrape(it.address)) in last:
            pass
    assert value(page, "osm_healthcheck_probes_total", result="success") == 60


def test_head_has_the_length_and_no_page() -> None:
    with sidecar() as running:
        answer = get(running.address, HEALTHCHECK, "/metrics", method="HEAD")
        assert answer.body == b""
        assert int(answer.header("Content-Length") or 0) > 500


@contextlib.contextmanager
def flood(address: str) -> Iterator[None]:
    """Scrape on and on while the block runs, and leave one in three unread."""
    stop = threading.Event()

    def run() -> None:
        with contextlib.ExitStack() as stack:
            while not stop.is_set():
                stack.enter_context(unread(address))
                for _ in range(2):
                    with connect(address, HEALTHCHECK) as sock:
                        sock.sendall(REQUEST)
                        read_to_end(sock)

    threads = [threading.Thread(target=run, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_flood_of_scrapes_costs_no_probe() -> None:
    with pod() as victim:
        with flood(victim.address), victim.kubelet():
            while (
                value(scrape(victim.address), "osm_healthcheck_probe_duration_seconds_count") < 20
            ):
                pass
        victim.assert_undamaged()


def test_connections_refused_at_the_limit_are_counted() -> None:
    with open_files(94):  # room for 10 connections
        stack = contextlib.ExitStack()
        running = stack.enter_context(process())
    with stack:
        running.wait_for("ready")
        for _ in range(13):
            stack.enter_context(connect(running.address, HEALTHCHECK))
        # the scrape's own connection is one more
        assert value(scrape(running.address), "osm_healthcheck_connections_refused_total") == 4
