"""The commands of init.sh: what they leave behind, and what they answer."""

import contextlib
import fcntl
import subprocess
from pathlib import Path

import pytest

from .init_script import SCRIPT, SHELLS, init, only_capabilities, saved
from .meshes import FIRST, ISTIO, KUMA, OSM, RULES
from .namespaces import Namespace, need

BACKENDS = ("nft", "legacy")
both_backends = pytest.mark.parametrize("backend", BACKENDS)

OTHERS_WITH_RAW = "*raw\n-A PREROUTING -p udp --dport 53 -j CT --zone 1\nCOMMIT\n"
LEFTOVERS = {
    "an empty chain": "*raw\n:OSM_HEALTHCHECK_IN - [0:0]\nCOMMIT\n",
    "other ports": (
        "*raw\n:OSM_HEALTHCHECK_IN - [0:0]\n"
        "-A OSM_HEALTHCHECK_IN -p tcp --dport 7 -j CT --notrack\n"
        "-A PREROUTING -j OSM_HEALTHCHECK_IN\nCOMMIT\n"
    ),
    "jumps twice": (
        "*raw\n:OSM_HEALTHCHECK_IN - [0:0]\n:OSM_HEALTHCHECK_OUT - [0:0]\n"
        "-A PREROUTING -j OSM_HEALTHCHECK_IN\n-A PREROUTING -p tcp -j OSM_HEALTHCHECK_IN\n"
        "-A PREROUTING -j OSM_HEALTHCHECK_IN\n-A OUTPUT -j OSM_HEALTHCHECK_OUT\nCOMMIT\n"
    ),
    "the fall-back": (
        "*nat\n:OSM_HEALTHCHECK_IN - [0:0]\n"
        "-A OSM_HEALTHCHECK_IN -p tcp --dport 15901:15904 -j ACCEPT\n"
        "-A PREROUTING -j OSM_HEALTHCHECK_IN\nCOMMIT\n"
    ),
}


def load(pod: Namespace, backend: str, rules: str) -> None:
    for tool in ("iptables", "ip6tables"):
        pod.run(f"{tool}-{backend}-restore", "--noflush", "-w", "20", stdin=rules)


def without_empty_tables(rules: str) -> str:
    """A table that was made once stays, but an empty one does nothing."""
    lines = rules.splitlines()
    kept = [line for line in lines if line.startswith(("-A", "#")) or " - " in line]
    return "\n".join(kept)


def test_print_shows_the_rules_and_needs_nothing() -> None:
    """Neither root nor iptables; as a user who only looks would run it."""
    golden = Path(__file__).with_name("print.golden").read_text()
    for shell in SHELLS:
        need(shell.split()[0])
        done = subprocess.run(
            ["env", "-i", *shell.split(), SCRIPT, "print"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert (done.stdout, done.stderr) == (golden, "")


@both_backends
def test_what_print_shows_is_what_install_does(backend: str, pod: Namespace) -> None:
    load(pod, backend, init(pod, "print", "--ports", "7,20-30").stdout)
    by_hand = saved(pod)
    assert init(pod, "check", "--ports", "7,20-30").returncode == 0
    assert init(pod, "--ports", "7,20-30").returncode == 0
    assert saved(pod) == by_hand


def test_shellcheck() -> None:
    need("shellcheck")
    done = subprocess.run(
        ["shellcheck", "-s", "sh", SCRIPT], capture_output=True, text=True, check=False
    )
    assert done.stdout == ""


@pytest.mark.parametrize("shell", SHELLS)
def test_every_command_in_every_shell(shell: str, pod: Namespace) -> None:
    need(shell.split()[0])
    KUMA.intercept(pod, "nft")
    before = saved(pod)
    statuses = {
        command: init(pod, *command.split(), shell=shell).returncode
        for command in ("check", "install", "check ", "uninstall", "check  ", "uninstall ")
    }
    assert list(statuses.values()) == [1, 0, 0, 0, 1, 0]
    assert without_empty_tables(saved(pod)) == without_empty_tables(before)


@both_backends
def test_install_many_times_is_install_once(backend: str, pod: Namespace) -> None:
    OSM.intercept(pod, backend)
    assert init(pod).returncode == 0
    once = saved(pod)
    for _ in range(3):
        assert init(pod, "install").returncode == 0
    assert saved(pod) == once
    assert once.count("-A PREROUTING -j OSM_HEALTHCHECK_IN") == 2  # IPv4 and IPv6


@pytest.mark.parametrize("leftover", LEFTOVERS.values(), ids=LEFTOVERS)
@both_backends
def test_install_and_uninstall_from_any_state(backend: str, leftover: str, pod: Namespace) -> None:
    load(pod, backend, OTHERS_WITH_RAW)
    others = without_empty_tables(saved(pod))
    init(pod, "--backend", backend)
    wanted = without_empty_tables(saved(pod))
    assert init(pod, "uninstall").returncode == 0
    assert without_empty_tables(saved(pod)) == others
    load(pod, backend, leftover)
    assert init(pod, "check").returncode == (0 if "nat" in leftover else 1)
    assert init(pod, "--backend", backend).returncode == 0
    assert without_empty_tables(saved(pod)) == wanted
    load(pod, backend, leftover)
    assert init(pod, "uninstall").returncode == 0
    assert without_empty_tables(saved(pod)) == others


def test_without_ports_it_says_what_all_four_let_in(pod: Namespace) -> None:
    told = "an app of this pod that listens on one of these is reached without mTLS"
    bare = init(pod)
    assert told in bare.stdout
    assert "--ports 15901,15904" in bare.stdout
    assert told not in init(pod, "--ports", "15901,15904").stdout
    assert told not in init(pod, "check").stdout


def test_other_ports_replace_the_old_ones_in_both_back_ends(pod: Namespace) -> None:
    init(pod, "--backend", "legacy")
    done = init(pod, "--backend=nft", "--ports=7-9,65535")
    assert done.returncode == 0
    assert "IPv4: removed from table raw (legacy)" in done.stdout
    rules = saved(pod)
    assert "15901" not in rules
    assert rules.count("--dport 7:9 ") == rules.count("--dport 65535 ") == 4
    assert init(pod, "check", "--ports", "7:9,65535").returncode == 0
    assert init(pod, "check").returncode == 1
    assert init(pod, "check", "--ports", "7:9").returncode == 0


def test_a_port_named_twice_is_one_rule(pod: Namespace) -> None:
    printed = init(pod, "print", "--ports", "7,8-9,7,8:9,7-7").stdout
    assert printed == init(pod, "print", "--ports", "7,8-9").stdout


def test_uninstall_where_nothing_is(pod: Namespace) -> None:
    before = saved(pod)
    done = init(pod, "uninstall")
    assert (done.returncode, done.stdout, done.stderr) == (0, "init.sh: nothing to remove\n", "")
    assert saved(pod) == before


class TestBackend:
    @both_backends
    def test_the_one_that_holds_the_mesh(self, backend: str, pod: Namespace) -> None:
        other = "legacy" if backend == "nft" else "nft"
        load(pod, other, "*filter\n-A INPUT -p udp --dport 9 -j DROP\nCOMMIT\n")
        ISTIO.intercept(pod, backend)
        done = init(pod)
        assert f"IPv4: TCP to 15901:15904 goes past the mesh (table raw, {backend})" in done.stdout
        assert "OSM_HEALTHCHECK_IN" in saved(pod, backend)
        assert "OSM_HEALTHCHECK_IN" not in saved(pod, other)

    def test_nft_where_both_hold_a_redirect(self, pod: Namespace) -> None:
        ISTIO.intercept(pod, "legacy")
        KUMA.intercept(pod, "nft")
        assert "(table raw, nft)" in init(pod).stdout

    def test_it_moves_to_a_mesh_that_came_later(self, pod: Namespace) -> None:
        init(pod)
        KUMA.intercept(pod, "legacy")
        assert "(table raw, legacy)" in init(pod).stdout
        assert "OSM_HEALTHCHECK" not in saved(pod, "nft")
        assert init(pod, "check").returncode == 0

    def test_the_one_that_the_user_names(self, pod: Namespace) -> None:
        KUMA.intercept(pod, "nft")
        assert "(table raw, legacy)" in init(pod, "--backend", "legacy").stdout
        assert init(pod, "check").returncode == 0
        assert init(pod, "check", "--backend", "legacy").returncode == 0
        assert init(pod, "check", "--backend", "nft").returncode == 1
        assert init(pod, "uninstall", "--backend", "nft").stdout == "init.sh: nothing to remove\n"
        assert "OSM_HEALTHCHECK" in saved(pod, "legacy")


class TestCheck:
    def test_it_names_what_is_in_force(self, pod: Namespace) -> None:
        init(pod)
        done = init(pod, "check")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == (
            "init.sh: IPv4: in force for TCP to 15901:15904 (table raw, nft)\n"
            "init.sh: IPv6: in force for TCP to 15901:15904 (table raw, nft)\n"
        )

    @both_backends
    def test_yes_where_more_is_in_force_and_no_where_one_port_is_not(
        self, backend: str, pod: Namespace
    ) -> None:
        init(pod, "--backend", backend, "--ports", "15901-15902,15904,9000,15903")
        for ports in ("15901-15904", "15902", "9000", "15903-15904,9000", "15901,15902,15903"):
            done = init(pod, "check", "--ports", ports)
            assert (done.returncode, done.stderr) == (0, ""), ports
        for ports in ("15900-15904", "15901-15905", "9000,9001", "15901-15904,7", "1-65535"):
            done = init(pod, "check", "--ports", ports)
            assert done.returncode == 1, ports
            assert "IPv4: not in force for TCP to" in done.stderr
        pod.run(f"iptables-{backend}", "-t", "raw", "-D", "OSM_HEALTHCHECK_OUT", "1")
        assert init(pod, "check").returncode == 1

    @pytest.mark.parametrize(
        "damage",
        [
            "-D PREROUTING -j OSM_HEALTHCHECK_IN",
            "-D OUTPUT -j OSM_HEALTHCHECK_OUT",
            "-F OSM_HEALTHCHECK_OUT",
            "-D OSM_HEALTHCHECK_OUT 1",
            "-I OSM_HEALTHCHECK_IN 1 -j ACCEPT",
        ],
    )
    @both_backends
    def test_no_where_a_part_is_gone(self, backend: str, damage: str, pod: Namespace) -> None:
        init(pod, "--backend", backend)
        pod.run(f"ip6tables-{backend}", "-t", "raw", *damage.split())
        done = init(pod, "check")
        assert done.returncode == 1
        assert done.stderr == (
            "init.sh: error: IPv6: not in force for TCP to 15901:15904. Run: init.sh install\n"
        )
        init(pod)
        assert init(pod, "check").returncode == 0

    @both_backends
    def test_a_warning_where_tproxy_could_take_the_probes(
        self, backend: str, pod: Namespace
    ) -> None:
        init(pod)
        rules = (RULES / "istio-tproxy.ipv4").read_text()
        pod.run(f"iptables-{backend}-restore", "--noflush", stdin=rules)
        done = init(pod, "check")
        assert done.returncode == 0
        assert f"warning: TPROXY rules in table mangle ({backend})" in done.stderr

    def test_a_warning_where_other_rules_of_table_raw_come_first(self, pod: Namespace) -> None:
        init(pod)
        pod.run("iptables-nft", "-t", "raw", "-I", "PREROUTING", "-p", "tcp", "-j", "ACCEPT")
        done = init(pod, "check")
        assert done.returncode == 0
        assert "IPv4: other rules come before ours in raw PREROUTING" in done.stderr
        init(pod)
        assert init(pod, "check").stderr == ""

    @pytest.mark.parametrize(
        ("reserved", "warned"),
        [("", True), ("15901-15903", True), ("1-5,15900-15910,60000", False)],
    )
    def test_a_warning_where_the_app_may_start_from_our_ports(
        self, reserved: str, warned: bool, pod: Namespace
    ) -> None:
        script = f"""
            echo '1024 65535' > /proc/sys/net/ipv4/ip_local_port_range
            echo '{reserved}' > /proc/sys/net/ipv4/ip_local_reserved_ports"""
        pod.run("sh", "-c", script)
        done = init(pod)
        assert done.returncode == 0
        assert ("ip_local_port_range lets connections" in done.stderr) is warned


class TestSurroundings:
    @pytest.mark.parametrize("shell", SHELLS)
    @both_backends
    def test_a_read_only_root(self, backend: str, shell: str, pod: Namespace) -> None:
        need(shell.split()[0])
        prepare = "mount -o remount,bind,ro / && mount -t tmpfs -o ro none /run"
        done = init(pod, "--backend", backend, prepare=prepare, shell=shell)
        assert (done.returncode, done.stderr) == (0, "")
        assert init(pod, "check").returncode == 0

    def test_it_waits_for_the_xtables_lock(self, pod: Namespace, tmp_path: Path) -> None:
        path = tmp_path / "xtables.lock"
        with path.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            command = ("sh", SCRIPT, "--backend", "legacy")
            process = pod.start(*command, env={"XTABLES_LOCKFILE": str(path)})
            waiting = f":{path.stat().st_ino} "
            while not any(
                "->" in line and waiting in line
                for line in Path("/proc/locks").read_text().splitlines()
            ):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    pytest.fail(f"it did not wait, but ended with {process.wait(0.02)}")
        assert process.wait(20) == 0
        assert init(pod, "check").returncode == 0

    def test_a_pod_with_ipv6_turned_off(self, pod: Namespace) -> None:
        pod.run("sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6")
        done = init(pod)
        assert (done.returncode, done.stderr) == (0, "")
        assert init(pod, "check").returncode == 0

    def test_a_kernel_without_ipv6(self, pod: Namespace) -> None:
        prepare = "mount -t tmpfs none /proc/$$/net"
        done = init(pod, prepare=prepare)
        assert (done.returncode, done.stderr) == (0, "")
        assert "init.sh: IPv6: left out, the kernel has none\n" in done.stdout
        assert "OSM_HEALTHCHECK" not in pod.run("ip6tables-nft-save").stdout
        assert init(pod, "check", prepare=prepare).returncode == 0

    def test_all_capabilities_that_legacy_needs(self, pod: Namespace) -> None:
        """With NET_RAW too, it sees and uses a mesh's legacy tables."""
        KUMA.intercept(pod, "legacy")
        done = init(pod, shell=only_capabilities("net_admin", "net_raw") + " dash")
        assert (done.returncode, done.stderr) == (0, "")
        assert "(table raw, legacy)" in done.stdout

    def test_a_mesh_that_inserts_first_does_not_undo_ours(self, pod: Namespace) -> None:
        init(pod)
        FIRST.intercept(pod, "nft")
        assert init(pod, "check").stderr == ""
