"""Node mode where a mesh has no annotation: the agent installs the rules of init.sh."""

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from .container_runtime import FakeRuntime
from .init_script import SCRIPT, saved
from .meshes import APP_USER, KUMA, MESHES
from .namespaces import PATIENCE, need, pod_and_node
from .node_programs import (
    APP,
    CHECK,
    PROBES,
    agent,
    answer,
    ask,
    pods,
    running,
    sockets_process,
    started,
    until,
)

BYPASS = ("--bypass", str(SCRIPT))


@pytest.mark.parametrize("backend", ["nft", "legacy"])
def test_past_every_mesh(runtime: FakeRuntime, backend: str) -> None:
    need("iptables-nft-restore", "iptables-legacy-restore")
    with ExitStack() as stack:
        pods = {mesh: stack.enter_context(pod_and_node()) for mesh in MESHES}
        for mesh, (pod, _) in pods.items():
            stack.enter_context(pod.serving({APP: answer("app")}, APP_USER))
            stack.enter_context(mesh.proxy(pod))
            mesh.intercept(pod, backend)
            runtime.add(mesh.name, pod, PROBES)
        late, late_node = stack.enter_context(pod_and_node())
        runtime.add("late", late, PROBES)
        stack.enter_context(agent(runtime, *BYPASS))
        KUMA.intercept(late, backend)  # before us or after
        for mesh, (pod, node) in pods.items():
            for address in (pod.ipv4, pod.ipv6):
                assert ask(node, address, 15904, CHECK).startswith(b"HTTP/1.1 200 "), mesh
            for version, address in ((4, pod.ipv4), (6, pod.ipv6)):
                said = node.ask(address, APP)
                assert (said == "inbound") == mesh.intercepts(version), mesh
        for address in (late.ipv4, late.ipv6):
            assert ask(late_node, address, 15904, CHECK).startswith(b"HTTP/1.1 404 ")


def test_once_for_each_pod_however_often_the_agent_starts(runtime: FakeRuntime) -> None:
    """In two processes it is that with rights which does it; both install what init.sh installs."""
    need("iptables-nft-restore", "iptables-legacy-restore")
    with pod_and_node() as (pod, _), pod_and_node() as (other, _), ExitStack() as stack:
        runtime.add("pod", pod, PROBES)
        with agent(runtime, *BYPASS):
            rules = saved(pod, "nft")
        assert rules.count("-j OSM_HEALTHCHECK_IN") == 2  # IPv4 and IPv6
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        path = folder / "sockets.sock"
        stack.enter_context(sockets_process(runtime, path, *BYPASS))
        with agent(runtime, sockets=path):
            assert saved(pod, "nft") == rules
        other.run("sh", SCRIPT)
        assert saved(other, "nft") == rules
        pod.run("sh", SCRIPT, "check")


def test_where_it_cannot_be_installed_the_pod_is_not_served(runtime: FakeRuntime) -> None:
    need("iptables-nft-restore")
    program = (sys.executable, "-m", "osm_healthcheck", "node", "--runtime", str(runtime.path))
    no_right = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", "--")
    with pod_and_node() as (pod, node):
        runtime.add("pod", pod, PROBES)
        with running(*no_right, *program, "--status", "127.0.0.1:9092", *BYPASS) as agent_program:
            agent_program.wait_for("the bypass cannot be installed: iptables-nft-restore: ")
            assert ask(node, pod.ipv4, 15904, CHECK) == b""


def test_a_program_that_hangs_holds_up_its_own_pod_alone(
    runtime: FakeRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("iptables-nft-save")
    turns, pipe, count = [tmp_path / str(number) for number in range(8)], tmp_path / "pipe", 8
    os.mkfifo(pipe)
    begun = " || ".join(f"mkdir {one} 2>&-" for one in turns)
    real = shutil.which("iptables-nft-save")
    text = f'if {begun}; then exec cat {pipe}; fi\nexec {real} "$@"'
    _instead_of_iptables_nft_save(text, tmp_path, monkeypatch)
    with pods(count + 1) as [*hung, (other, node)], started(runtime, *BYPASS) as agent_program:
        try:
            for number, (pod, _) in enumerate(hung):
                runtime.add(f"hung-{number}", pod, PROBES)
            until(turns[-1].exists)
            runtime.add("other", other, PROBES)
            agent_program.wait_for("pod served")
            assert ask(node, other.ipv4, 15904, CHECK).startswith(b"HTTP/1.1 200 ")
            agent_program.wait_for("its network is not open after 2 s", times=count)
        finally:
            os.close(os.open(pipe, os.O_RDWR))  # whoever waits for it finds it empty
        agent_program.wait_for("pod served", times=count + 1)


def test_rules_without_an_end_take_little_memory(
    runtime: FakeRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pod with NET_ADMIN may have as many as it likes."""
    need("iptables-nft-save")
    _instead_of_iptables_nft_save("exec yes -- '-A PREROUTING -j ACCEPT'", tmp_path, monkeypatch)
    with pods(1) as [(pod, node)], started(runtime, *BYPASS) as agent_program:
        runtime.add("pod", pod, PROBES)
        agent_program.wait_for("pod served")
        assert ask(node, pod.ipv4, 15904, CHECK).startswith(b"HTTP/1.1 200 ")
        status = Path(f"/proc/{agent_program.process.pid}/status").read_text()
        [most] = [int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line]
        assert most < 100_000  # kB


def _instead_of_iptables_nft_save(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "iptables-nft-save"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.mark.parametrize("script", ["/nowhere/init.sh", __file__])
def test_a_script_that_prints_no_rules(script: str) -> None:
    command = (sys.executable, "-m", "osm_healthcheck", "node", "--bypass", script)
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"osm-healthcheck node: --bypass: {script} prints no rules: ")
    assert "Traceback" not in done.stderr
