"""Node mode: one agent serves pods from inside their network namespaces."""

import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from .container_runtime import FakeRuntime, fake_runtime
from .namespaces import PATIENCE, pod_and_node
from .node_programs import (
    APP,
    CHECK,
    LIVENESS,
    PROBES,
    agent,
    answer,
    ask,
    namespaces_of,
    pods,
    probing,
    started,
    status,
    until,
)
from .program import Program

STATUS = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
HALF_A_CHARACTER = {"httpGet": {"port": APP, "httpHeaders": [{"name": "X", "value": "\ud800"}]}}


def test_every_pod_is_answered_in_its_own_namespace(runtime: FakeRuntime) -> None:
    with pods(2) as both:
        for number, (pod, _) in enumerate(both):
            runtime.add(f"pod{number}", pod, PROBES)
        with agent(runtime) as program:
            for number, (pod, node) in enumerate(both):
                for address in (pod.ipv4, pod.ipv6):
                    said = ask(node, address, 15901, LIVENESS)
                    assert said.startswith(b"HTTP/1.1 200 OK\r\n")
                    assert said.endswith(f"pod {number}".encode())
                    assert ask(node, address, 15904, CHECK).startswith(b"HTTP/1.1 200 ")
                assert ask(node, pod.ipv4, 15902, LIVENESS) == b""  # nothing needs it
            shown = json.loads(status(program, "/debug/pods"))
            assert sorted(one["name"] for one in shown["served"]) == ["web-pod0", "web-pod1"]
            metrics = status(program, "/metrics")
            assert "osm_healthcheck_node_pods 2\n" in metrics
            labels = 'namespace="shop",pod="web-pod1",target="http://:8080/livez",kinds="liveness"'
            assert labels in metrics
            assert status(program, "/healthz") == "the agent is serving\n"


def test_who_is_on_the_node_is_told_within_the_agents_pod_alone(runtime: FakeRuntime) -> None:
    """/debug/pods names every pod, its addresses and what is wrong with its annotation."""
    command = [sys.executable, "-m", "osm_healthcheck", "node", "--runtime", str(runtime.path)]
    with pod_and_node() as (stranger, own):
        Program(own.start(*command)).wait_for('"started"')
        request = b"GET /debug/pods HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        for address in (own.ipv4, own.ipv6):
            assert ask(stranger, address, 9092, request).startswith(b"HTTP/1.1 403 ")
            assert b"200 OK" in ask(
                stranger, address, 9092, request.replace(b"debug/pods", b"healthz")
            )
        for address in ("127.0.0.1", "::1"):
            assert ask(own, address, 9092, request).startswith(b"HTTP/1.1 200 ")
        unknown = ask(own, own.ipv4, 9092, request.replace(b"debug/pods", b"nope"))
        assert b"there are /healthz, /health/ready, /metrics and /debug/pods\n" in unknown


def test_a_flood_of_many_pods_leaves_the_calm_ones_alone(runtime: FakeRuntime) -> None:
    """All pods together may hold so much, and whoever holds most makes room."""
    with pods(3) as all_of_them, ExitStack() as stack:
        for number, (pod, _) in enumerate(all_of_them):
            runtime.add(f"pod{number}", pod, PROBES)
        with agent(runtime, "--connections", "16", "--all-connections", "24") as program:
            for pod, node in all_of_them[:2]:
                for _ in range(20):
                    caller = stack.enter_context(node.socket(socket.AF_INET))
                    caller.settimeout(PATIENCE)
                    caller.connect((pod.ipv4, 15904))
            calm, node = all_of_them[2]
            for _ in range(20):
                assert ask(node, calm.ipv4, 15904, CHECK).startswith(b"HTTP/1.1 200 ")
            shown = json.loads(status(program, "/debug/pods"))["served"]
            held = {one["name"]: one["connections"] for one in shown}
            assert 20 <= held["web-pod0"] + held["web-pod1"] <= 24


def test_with_few_files_it_holds_fewer_connections_and_says_so(runtime: FakeRuntime) -> None:
    program = (sys.executable, "-m", "osm_healthcheck", "node", "--runtime", str(runtime.path))
    limited = ("prlimit", "--nofile=600:600", *program)
    with pod_and_node() as (pod, _):
        running = Program(pod.start(*limited))
        running.wait_for("open files are few")
        [line] = [json.loads(one) for one in running.lines if "open files" in one]
        assert (line["files"], line["connections"]) == (600, 100)


def test_a_dead_app_is_found(runtime: FakeRuntime) -> None:
    with pod_and_node() as (pod, node):
        runtime.add("pod", pod, PROBES)
        with agent(runtime):
            assert ask(node, pod.ipv4, 15904, CHECK).startswith(b"HTTP/1.1 404 ")
            with pod.serving({APP: answer("back")}):
                assert ask(node, pod.ipv4, 15904, CHECK).startswith(b"HTTP/1.1 200 ")


def test_a_pod_that_comes_later_is_served_and_one_that_ends_is_released(
    runtime: FakeRuntime,
) -> None:
    with agent(runtime) as program, pods(1) as [(pod, node)]:
        runtime.add("pod", pod, PROBES)
        program.wait_for("pod served")
        assert ask(node, pod.ipv4, 15904, CHECK).startswith(b"HTTP/1.1 200 ")
        # the status page of a pod is for those in the pod
        assert ask(node, pod.ipv4, 15904, STATUS).startswith(b"HTTP/1.1 404 ")
        assert ask(pod, "127.0.0.1", 15904, STATUS).startswith(b"HTTP/1.1 200 ")
        runtime.end("pod")
        program.wait_for("pod released")
        assert ask(node, pod.ipv4, 15904, CHECK) == b""


def test_a_namespace_that_vanishes_is_let_go_though_the_runtime_says_nothing(
    runtime: FakeRuntime,
) -> None:
    with ExitStack() as stack:
        pod, _ = stack.enter_context(pod_and_node())
        runtime.add("pod", pod, PROBES)
        with agent(runtime) as program:
            runtime.answering.clear()
            runtime.calls.clear()
            until(lambda: bool(runtime.calls))  # it waits for an answer now
            stack.close()
            program.wait_for("pod released")
            inode = f"net:[{Path('/proc/self/ns/net').stat().st_ino}]"
            until(lambda: namespaces_of(program) <= {inode, "/proc/self/ns/net"})


def test_a_port_that_is_taken_costs_its_own_pod_alone(runtime: FakeRuntime) -> None:
    with pods(2) as both:
        for number, (pod, _) in enumerate(both):
            runtime.add(f"pod{number}", pod, PROBES)
        with both[0][0].serving({15904: "the app's own"}), agent(runtime) as program:
            program.wait_for("pod not served, its probes fail")
            [line] = [json.loads(one) for one in program.lines if "not served" in one]
            assert line["pod"] == "shop/web-pod0"
            assert "cannot listen on 0.0.0.0:15904: address already in use" in line["reason"]
            pod, node = both[1]
            assert ask(node, pod.ipv4, 15904, CHECK).startswith(b"HTTP/1.1 200 ")
            metrics = status(program, "/metrics")
            assert "osm_healthcheck_node_pods_not_served 1\n" in metrics
            named = 'osm_healthcheck_node_pod_not_served{namespace="shop",pod="web-pod0"} 1'
            assert named in metrics
            [told] = json.loads(status(program, "/debug/pods"))["notServed"]
            assert (told["pod"], told["reason"]) == (line["pod"], line["reason"])


@pytest.mark.parametrize(
    ("probes", "reason"),
    [
        ("not JSON", "it is not JSON"),
        ({"app": {"livenessProbe": {"tcpSocket": {"port": 15904}}}}, "the sidecar's own ports"),
        (json.dumps(PROBES) + " " * 40_000, "is over 32768 bytes"),
        ({"app": {"livenessProbe": HALF_A_CHARACTER}}, "half a character"),
    ],
    ids=["text", "port", "size", "half"],
)
def test_a_broken_annotation_costs_its_own_pod_alone(
    runtime: FakeRuntime, probes: object, reason: str
) -> None:
    with pods(2) as both:
        runtime.add("broken", both[0][0], probes)
        runtime.add("whole", both[1][0], PROBES)
        with agent(runtime) as program:
            [line] = [json.loads(one) for one in program.lines if "not served" in one]
            assert reason in line["reason"]
            pod, node = both[1]
            assert ask(node, pod.ipv4, 15904, CHECK).startswith(b"HTTP/1.1 200 ")


def test_a_namespace_that_is_not_the_pods_is_not_trusted(runtime: FakeRuntime) -> None:
    with pods(1) as [(pod, node)]:
        runtime.add("pod", pod, PROBES, namespace_path=f"/run/netns/{node.name}")
        with agent(runtime) as program:
            program.wait_for(f"does not hold its address {pod.ipv4}")
            assert ask(node, pod.ipv4, 15904, CHECK) == b""


def test_handed_over_under_load_no_probe_fails(runtime: FakeRuntime, tmp_path: Path) -> None:
    handover = ("--handover", str(tmp_path / "handover.sock"))
    with pods(1) as [(pod, node)]:
        runtime.add("pod", pod, PROBES)
        with ExitStack() as stack:
            first = stack.enter_context(agent(runtime, *handover))
            with probing(node, pod.ipv4) as answers:
                until(lambda: len(answers) > 50)
                second = stack.enter_context(agent(runtime, *handover))
                first.wait_for("handed over to another agent")
                first.process.terminate()
                assert first.process.wait(PATIENCE) == 0
                before = len(answers)
                until(lambda: len(answers) > before + 50)
                third = stack.enter_context(agent(runtime, *handover))
                second.wait_for("handed over to another agent")
                second.process.terminate()
                assert second.process.wait(PATIENCE) == 0
                before = len(answers)
                until(lambda: len(answers) > before + 50)
            assert {one[:13] for one in answers} == {b"HTTP/1.1 200 "}
            assert any('"taken_over": 1' in line for line in third.lines)


def test_after_a_crash_everything_is_served_again(runtime: FakeRuntime, tmp_path: Path) -> None:
    handover = ("--handover", str(tmp_path / "handover.sock"))
    with pods(2) as both:
        for number, (pod, _) in enumerate(both):
            runtime.add(f"pod{number}", pod, PROBES)
        with agent(runtime, *handover) as first:
            first.end()
        with agent(runtime, *handover):
            for pod, node in both:
                assert ask(node, pod.ipv4, 15904, CHECK).startswith(b"HTTP/1.1 200 ")


def test_a_successor_that_dies_on_the_way_changes_nothing(
    runtime: FakeRuntime, tmp_path: Path
) -> None:
    path = tmp_path / "handover.sock"
    with pods(1) as [(pod, node)]:
        runtime.add("pod", pod, PROBES)
        with agent(runtime, "--handover", str(path)):
            for _ in range(3):
                with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as caller:
                    caller.settimeout(PATIENCE)
                    caller.connect(str(path))
                    _, descriptors, _, _ = socket.recv_fds(caller, 4096, 16)
                    for one in descriptors:  # and it is gone
                        os.close(one)
            assert ask(node, pod.ipv4, 15904, CHECK).startswith(b"HTTP/1.1 200 ")


def test_the_agent_before_serves_until_all_is_taken_over(
    runtime: FakeRuntime, tmp_path: Path
) -> None:
    handover = ("--handover", str(tmp_path / "handover.sock"))
    with pods(1) as [(pod, node)]:
        runtime.add("pod", pod, PROBES)
        with agent(runtime, *handover) as first:
            known = runtime.statuses.pop("pod")
            with started(runtime, *handover) as second:
                second.wait_for("pod not served")
                assert not any("handed over" in line for line in first.lines)
                assert ask(node, pod.ipv4, 15904, CHECK).startswith(b"HTTP/1.1 200 ")
                runtime.statuses["pod"] = known
                first.wait_for("handed over to another agent")
                assert ask(node, pod.ipv4, 15904, CHECK).startswith(b"HTTP/1.1 200 ")


def test_a_pod_that_comes_in_the_middle_of_a_handover_is_served_throughout(
    runtime: FakeRuntime, tmp_path: Path
) -> None:
    """The agent before leaves it to the next one, which would find its ports taken."""
    handover = ("--handover", str(tmp_path / "handover.sock"))
    with pods(2) as both:
        runtime.add("pod0", both[0][0], PROBES)
        with agent(runtime, *handover) as first:
            known = runtime.statuses.pop("pod0")
            with started(runtime, *handover) as second:
                second.wait_for("pod not served")  # it has the sockets and waits for that pod
                pod, node = both[1]
                runtime.add("pod1", pod, PROBES)
                second.wait_for("pod served")
                with probing(node, pod.ipv4) as answers:
                    until(lambda: len(answers) > 20)
                    runtime.statuses["pod0"] = known
                    first.wait_for("handed over to another agent")
                    before = len(answers)
                    until(lambda: len(answers) > before + 20)
                assert {one[:13] for one in answers} == {b"HTTP/1.1 200 "}
                told = [json.loads(line) for line in (*first.lines, *second.lines)]
                told = [one["message"] for one in told if one.get("pod") == "shop/web-pod1"]
                assert [one for one in told if one != "probe result"] == ["pod served"]


def test_without_a_folder_for_the_handover_it_serves(runtime: FakeRuntime, tmp_path: Path) -> None:
    with pods(1) as [(pod, node)]:
        runtime.add("pod", pod, PROBES)
        with agent(runtime, "--handover", str(tmp_path / "none" / "handover.sock")) as program:
            program.wait_for("nothing can be handed over to the next agent")
            assert ask(node, pod.ipv4, 15904, CHECK).startswith(b"HTTP/1.1 200 ")


def test_sigterm_ends_it_orderly(runtime: FakeRuntime) -> None:
    with pods(1) as [(pod, node)]:
        runtime.add("pod", pod, PROBES)
        with agent(runtime) as program:
            program.process.terminate()
            assert program.process.wait(PATIENCE) == 0
            assert ask(node, pod.ipv4, 15904, CHECK) == b""
            assert not [line for line in program.lines if '"error"' in line]


def test_without_a_runtime_it_waits_for_one(tmp_path: Path) -> None:
    missing = FakeRuntime(tmp_path / "cri.sock")
    with started(missing) as program:
        program.wait_for("the node's pods are not known")
        with fake_runtime(missing.path):
            program.wait_for("the node's pods are known again")


def test_a_status_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        command = [sys.executable, "-m", "osm_healthcheck", "node", "--status", address]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    assert done.returncode == 1
    assert f"osm-healthcheck node: cannot listen on {address}: address already" in done.stderr
    assert "choose --status\n" in done.stderr


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--status", "nowhere"),
        ("--connections", "1"),
        ("--all-connections", "x"),
        ("--allow-from", "all"),
        ("--wrong", "x"),
    ],
)
def test_bad_options(option: str, value: str) -> None:
    command = [sys.executable, "-m", "osm_healthcheck", "node", option, value]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 2
    assert option in done.stderr
    assert "Traceback" not in done.stderr
