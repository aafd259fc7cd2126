"""The life of the process: start, ports in use, signals, drain, PID 1."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from osm_healthcheck.probes.constants import ProbeKind
from osm_healthcheck.server import pod_server
from osm_healthcheck.server.listen import ListenError
from osm_healthcheck.wire.listening import listening_addresses
from tests.io.apps import app, hold, http_app, read_head, response
from tests.io.sidecar import (
    HEALTHCHECK,
    LIVENESS,
    PORTS,
    Process,
    http_probe,
    process,
    sidecar,
    tcp_probe,
)
from tests.io.unshare import can_unshare
from tests.io.wire import connect, exchange, get, own_address, read_to_end


def listens(address: str, port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex((address, port)) == 0


def test_it_binds_15904_alone_where_nothing_is_declared() -> None:
    with sidecar() as running:
        assert listens(running.address, HEALTHCHECK)
        assert not any(listens(running.address, port) for port in PORTS.values())


def test_it_binds_what_declared_probes_need() -> None:
    probes = {
        "a": {"livenessProbe": {"httpGet": {"port": 1}}, "startupProbe": tcp_probe(2)},
        "b": {"startupProbe": {"httpGet": {"port": 3, "scheme": "HTTPS"}}},
    }
    with sidecar(probes) as running:
        bound = {port for port in (15901, 15902, 15903, 15904) if listens(running.address, port)}
    assert bound == {15901, 15903, 15904}


def test_it_serves_15904_while_another_process_holds_the_other_ports() -> None:
    address = own_address()
    with (
        app(hold, address, 15901),
        app(hold, address, 15902),
        app(hold, address, 15903),
        sidecar(address=address) as running,
    ):
        assert get(running.address, HEALTHCHECK, "/healthz").status == 200


def test_both_families_are_served_by_default() -> None:
    # The one test on all addresses, so it uses ports that no other test does.
    ports = [arg for name in ("healthcheck", *PORTS) for arg in (f"--{name}-port", free(name))]
    with process(*ports, bind=False) as running:
        said = running.wait_for("ready")["listening"]
        assert [line.rpartition(":")[0] for line in said] == ["0.0.0.0", "[::]"]
        assert get("127.0.0.1", int(ports[1]), "/healthz").status == 200
        assert get("::1", int(ports[1]), "/healthz", {"Host": "x"}).status == 200


def free(_: str) -> str:
    with socket.socket(socket.AF_INET6) as sock:
        sock.bind(("::", 0))
        return str(sock.getsockname()[1])


def test_without_ipv6_it_serves_ipv4() -> None:
    # A real kernel without IPv6 for this process: a network namespace where it is switched off.
    if not can_unshare():
        pytest.skip("needs unshare -n and root")
    script = (
        "ip link set lo up && echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6 && exec "
        f"{sys.executable} -m osm_healthcheck --bind 0.0.0.0,::"
    )
    done = subprocess.Popen(
        ["unshare", "-n", "sh", "-c", script], stderr=subprocess.PIPE, text=True
    )
    try:
        assert done.stderr is not None
        lines = [json.loads(done.stderr.readline()) for _ in range(2)]
    finally:
        done.send_signal(signal.SIGINT)
        done.communicate(timeout=20)
    assert "0.0.0.0:15904" in lines[1]["listening"]


def test_a_port_in_use_is_1_and_nothing_is_left_half_up() -> None:
    with process("--liveness", "http://:1/") as first:
        first.wait_for("ready")
        second = Process(
            ["--liveness", "http://:1/", "--bind", first.address, "--healthcheck-port", "15999"],
            bind=False,
        )
        try:
            assert second.wait() == 1
            told = "".join(second.text)
        finally:
            second.end()
        assert not listens(first.address, 15999)
        assert f"cannot listen on {first.address}:15901: address already in use" in told
        assert "--liveness-port" in told
        assert "Traceback" not in told


@pytest.mark.parametrize("kind", list(ProbeKind))
def test_a_port_that_an_app_has_taken_is_named_and_nothing_is_served(kind: ProbeKind) -> None:
    """Issue: 15901-15903 need no privileges, and the mesh's redirect is kept off them for anybody.

    The sidecar does not share such a port, and does not serve the others meanwhile: its startup
    probe fails, which somebody sees.
    """
    address = own_address()
    arguments = (f"--{kind.value}", "http://:1/", "--bind", address)
    with (
        http_app(response(body=b"taken"), address=address, port=kind.port),
        process(*arguments, bind=False) as it,
    ):
        assert it.wait() == 1
        assert it.text[-1] == (
            f"osm-healthcheck: cannot listen on {address}:{kind.port}: address already in "
            f"use: another process has it; end that one, or choose --{kind.value}-port\n"
        )
        assert not listens(address, 15904)


def test_an_address_that_is_not_here_is_1() -> None:
    with process("--bind", "192.0.2.1", bind=False) as running:
        assert running.wait() == 1
        assert "cannot listen on 192.0.2.1:15904" in running.text[-1]


def test_a_port_in_use_is_told_with_and_without_advice() -> None:
    address = own_address()
    with (
        http_app(response(), address=address, port=15904),
        pytest.raises(ListenError) as caught,
        sidecar(address=address),
    ):
        pass
    assert caught.value.problem == f"cannot listen on {address}:15904: address already in use"
    assert str(caught.value) == (
        f"{caught.value.problem}: another process has it; end that one, or choose "
        "--healthcheck-port"
    )


def test_sigterm_goes_on_answering_while_the_app_listens() -> None:
    with app(hold) as target, process("--liveness", f"tcp://:{target.port}") as running:
        running.wait_for("ready")
        running.signal(signal.SIGTERM)
        running.wait_for("ending")
        assert check(running, target.port) == 200
        target.wait_for(lambda target: target.connections == 1)
        target.close()
        assert running.wait() == 0


def test_sigterm_waits_no_longer_than_drain() -> None:
    drain = ("--drain", "0.2")
    with app(hold) as target, process("--liveness", f"tcp://:{target.port}", *drain) as running:
        running.wait_for("ready")
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
    assert target.connections == 0


@pytest.mark.parametrize(
    ("declared", "number"), [(False, signal.SIGTERM), (False, signal.SIGINT), (True, signal.SIGINT)]
)
def test_it_ends_at_once_where_there_is_nothing_to_wait_for(
    declared: bool, number: signal.Signals
) -> None:
    with app(hold) as target:
        arguments = ["--liveness", f"tcp://:{target.port}"] if declared else []
        with process(*arguments) as running:
            running.wait_for("ready")
            with connect(running.address, HEALTHCHECK):  # silent: nobody waits for it
                running.signal(number)
                assert running.wait() == 0
        assert listening_addresses(target.port)


def test_what_is_in_flight_is_finished() -> None:
    asked, go = socket.socketpair(), socket.socketpair()

    def serve(sock: socket.socket) -> None:
        read_head(sock)
        asked[0].send(b"x")
        go[1].recv(1)
        sock.sendall(response(body=b"done"))

    with app(serve) as target:
        probe = {"httpGet": {"port": target.port}, "timeoutSeconds": 20}
        declared = json.dumps({"app": {"livenessProbe": probe}})
        with process("--probes", declared) as running:
            running.wait_for("ready")
            with connect(running.address, LIVENESS) as caller:
                caller.sendall(b"GET /osm-liveness-probe HTTP/1.1\r\nHost: x\r\n\r\n")
                asked[1].recv(1)
                running.signal(signal.SIGINT)
                running.wait_for("ending")
                go[0].send(b"x")
                answer, _ = read_to_end(caller)
            assert running.wait() == 0
    assert answer.endswith(b"\r\n\r\ndone")
    for pair in (asked, go):
        for sock in pair:
            sock.close()


def test_what_does_not_end_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """It leaves the loop of the sidecar, which the fixture waits for."""
    monkeypatch.setattr(pod_server, "FINISH_SECONDS", 0.1)
    with app(hold) as target, contextlib.ExitStack() as stack:
        with sidecar(
            {"app": {"livenessProbe": http_probe(target.port, timeoutSeconds=600)}}
        ) as one:
            caller = stack.enter_context(connect(one.address, LIVENESS))
            caller.sendall(b"GET /osm-liveness-probe HTTP/1.1\r\nHost: x\r\n\r\n")
            target.wait_for(lambda target: target.connections == 1)
        assert read_to_end(caller) == (b"", False)


def test_a_lifecycle_hook_that_is_under_way_is_waited_for() -> None:
    """As the kubelet does, for as long as the pod has; meanwhile probes are answered."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        hook = {"httpGet": {"port": listening.getsockname()[1]}}
        declared = json.dumps({"app": {"lifecycle": {"preStop": hook}}})
        with process("--probes", declared) as running:
            running.wait_for("ready")
            with connect(running.address, HEALTHCHECK) as caller:
                caller.sendall(b"GET /osm-pre-stop-hook/app HTTP/1.1\r\nHost: x\r\n\r\n")
                asked, _ = listening.accept()
                listening.close()  # so there is nothing else to wait for
                running.signal(signal.SIGTERM)
                running.wait_for("ending")
                for _ in range(5):
                    assert get(running.address, HEALTHCHECK, "/healthz").status == 200
                with asked:
                    asked.sendall(response(body=b"stopped"))
                answer, _ = read_to_end(caller)
            assert running.wait() == 0
    assert answer.endswith(b"\r\n\r\nstopped")


def test_who_has_connected_before_the_end_is_answered() -> None:
    """A busy moment of the event loop: probes come, which nobody has accepted, and the signal."""
    with app(hold) as target, process("--liveness", f"tcp://:{target.port}") as running:
        running.wait_for("ready")
        running.signal(signal.SIGSTOP)
        os.waitpid(running.popen.pid, os.WUNTRACED)
        request = b"GET /osm-healthcheck HTTP/1.1\r\nHost: x\r\nOriginal-Tcp-Port: %d\r\n\r\n"
        with contextlib.ExitStack() as stack:
            callers = [
                stack.enter_context(connect(running.address, HEALTHCHECK)) for _ in range(40)
            ]
            for caller in callers:
                caller.sendall(request % target.port)
            running.signal(signal.SIGINT)
            running.signal(signal.SIGCONT)
            answers = [read_to_end(caller) for caller in callers]
        assert running.wait() == 0
    assert {answer[:12] for answer, _ in answers} == {b"HTTP/1.1 200"}


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_immediately(second: signal.Signals) -> None:
    with app(hold) as target, process("--liveness", f"tcp://:{target.port}") as running:
        running.wait_for("ready")
        running.signal(signal.SIGTERM)
        running.wait_for("ending")
        running.signal(second)
        assert running.wait() == 128 + second


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    mask = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(mask >> (number - 1) & 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_start_ends_it_without_a_traceback(number: signal.Signals) -> None:
    for _ in range(3):
        with process() as running:
            # From here on signals are ours; before, they are the interpreter's.
            while not catches(running.popen.pid, signal.SIGTERM):
                assert running.popen.poll() is None
            running.signal(number)
            assert running.wait() in (0, 128 + number)
            assert "Traceback" not in "".join(running.text)


def test_as_pid_1_it_behaves_the_same() -> None:
    if not can_unshare():
        pytest.skip("needs unshare --pid and root")
    address = own_address()
    with app(hold) as target:
        command = [
            *("unshare", "--pid", "--fork", "--kill-child", sys.executable, "-m"),
            *("osm_healthcheck", "--bind", address, "--liveness", f"tcp://:{target.port}"),
        ]
        outer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            assert outer.stderr is not None
            assert json.loads(outer.stderr.readline())["message"] == "ready"
            children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text()
            os.kill(int(children), signal.SIGTERM)
            assert json.loads(outer.stderr.readline())["message"] == "ending"
            headers = {"Original-Tcp-Port": str(target.port)}
            assert get(address, HEALTHCHECK, "/osm-healthcheck", headers).status == 200
            target.close()
            outer.communicate(timeout=20)
            assert outer.returncode == 0
        finally:
            outer.kill()
            outer.wait()


def test_standard_error_that_is_gone_stops_no_answer() -> None:
    address = own_address()
    with app(hold) as target:
        command = [sys.executable, "-m", "osm_healthcheck", "--bind", address]
        running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            assert running.stderr is not None
            while "ready" not in running.stderr.readline():
                pass
            running.stderr.close()
            headers = {"Original-Tcp-Port": str(target.port)}
            for _ in range(3):
                assert get(address, HEALTHCHECK, "/osm-healthcheck", headers).status == 200
            target.close()
            assert get(address, HEALTHCHECK, "/osm-healthcheck", headers).status == 404
        finally:
            running.send_signal(signal.SIGINT)
            assert running.wait(20) == 0


def check(running: Process, port: int) -> int:
    headers = {"Original-Tcp-Port": str(port)}
    return get(running.address, HEALTHCHECK, "/osm-healthcheck", headers).status


def test_the_command_of_osm_s_injector() -> None:
    with http_app(response()) as target, process("--verbosity", "info") as running:
        running.wait_for("ready")
        assert [check(running, target.port), check(running, 1)] == [200, 404]
        request = b"GET /osm-healthcheck HTTP/1.1\r\nHost: x\r\n\r\n"
        assert exchange(running.address, HEALTHCHECK, request).status == 400
        assert running.wait_for("no probes are declared: any port of this pod can be checked")


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1), (0, 1, 2)], ids=str)
def test_a_process_without_standard_streams_serves(closed: tuple[int, ...]) -> None:
    address = own_address()
    command = [sys.executable, "-m", "osm_healthcheck", "--bind", address]
    redirections = " ".join(f"{fd}>&-" for fd in closed)
    running = subprocess.Popen(["sh", "-c", f'exec "$@" {redirections}', "-", *command])
    try:
        while not listens(address, HEALTHCHECK):
            assert running.poll() is None
        assert get(address, HEALTHCHECK, "/healthz").status == 200
    finally:
        running.send_signal(signal.SIGINT)
        assert running.wait(20) == 0


@pytest.mark.parametrize("bind", ["0.0.0.0,127.0.0.1", "::,::1"])
def test_addresses_that_overlap_are_1(bind: str) -> None:
    port = ("--healthcheck-port", free(""))
    with process("--bind", bind, *port, bind=False) as running:
        assert running.wait() == 1
        assert "address already in use" in running.text[-1]
        assert "Traceback" not in "".join(running.text)


def test_too_few_files_are_1_and_few_are_said() -> None:
    def limited(files: int) -> list[str]:
        return ["sh", "-c", f'ulimit -n {files}; exec "$@"', "-", sys.executable, "-m"]

    command = ["osm_healthcheck", "--bind", own_address()]
    ran = subprocess.run([*limited(12), *command], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert (
        ran.stderr
        == "osm-healthcheck: 12 open files are too few: let it have 67 (ulimit -n) or more\n"
    )
    running = subprocess.Popen([*limited(94), *command], stderr=subprocess.PIPE, text=True)
    try:
        assert running.stderr is not None
        lines = [json.loads(running.stderr.readline()) for _ in range(2)]
    finally:
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=20)
    assert lines[1]["connections"] == 10


def test_a_slip_of_the_pen_in_the_environment_is_said() -> None:
    environ = {
        "OSM_HEALTHCHECK_LIVNESS": "tcp://:1",
        "OSM_HEALTHCHECK_DRAIN": "1",
        "OSM_HEALTHCHECK_WEB_SERVICE_HOST": "192.0.2.1",  # as Kubernetes tells of Services
        "OSM_HEALTHCHECK_WEB_PORT": "tcp://192.0.2.1:80",
    }
    with process(environ=environ) as running:
        line = running.wait_for("unknown variables in the environment")
    assert line["names"] == ["OSM_HEALTHCHECK_LIVNESS"]


@pytest.mark.parametrize(
    "arguments",
    [["--version"], ["--help"], ["help", "check"], ["check", "tcp://127.0.0.1:1"]],
    ids=" ".join,
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_nobody_reads_is_no_traceback(arguments: list[str], unbuffered: str) -> None:
    command = [sys.executable, "-m", "osm_healthcheck", *arguments]
    for out, code in (("/dev/full", 2), ("|", 141)):
        if out == "|":
            reading, writing = os.pipe()
            os.close(reading)
        else:
            writing = os.open(out, os.O_WRONLY)
        ran = subprocess.run(
            command,
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
        os.close(writing)
        assert ran.returncode == code
        assert "Traceback" not in ran.stderr
        assert "Exception ignored" not in ran.stderr


def test_without_pyyaml_the_commands_for_manifests_say_so() -> None:
    # As in the sidecar's image, which has no use for it.
    code = (
        "import sys; sys.modules['yaml'] = None\n"
        "from osm_healthcheck.cli.main import main\n"
        "main(['inject'])"
    )
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, input="kind: Pod")
    assert ran.returncode == 2
    assert ran.stderr == "osm-healthcheck: inject needs PyYAML, which is not installed\n"
