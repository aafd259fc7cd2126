"""What init.sh says when it cannot do what it was asked, and that it then changed nothing."""

import subprocess

import pytest

from .conftest import ALL_PROGRAMS
from .init_script import SCRIPT, Programs, init, only_capabilities, saved
from .meshes import KUMA
from .namespaces import Namespace, need

NOT_A_PORT = "is neither a port (1-65535) nor a range such as 15901-15904"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["remove"], "unknown command 'remove': install, uninstall, check or print"),
        (["install", "check"], "two commands: install and check"),
        (["--port", "1"], "unknown option '--port'"),
        (["--ports"], "--ports needs a value"),
        (["--backend"], "--backend needs a value"),
        (["--backend", "iptables"], "--backend: 'iptables' is neither nft nor legacy"),
        (["--backend="], "--backend: '' is neither nft nor legacy"),
        (["--ports", ""], f"--ports: '' {NOT_A_PORT}"),
        (["--ports", "80,"], f"--ports: '' {NOT_A_PORT}"),
        (["--ports", "80,,81"], f"--ports: '' {NOT_A_PORT}"),
        (["--ports", "0"], f"--ports: '0' {NOT_A_PORT}"),
        (["--ports", "65536"], f"--ports: '65536' {NOT_A_PORT}"),
        (["--ports", "99999999999999999999"], f"--ports: '99999999999999999999' {NOT_A_PORT}"),
        (["--ports", "010"], f"--ports: '010' {NOT_A_PORT}"),
        (["--ports", "80 81"], f"--ports: '80 81' {NOT_A_PORT}"),
        (["--ports", "80, 81"], f"--ports: ' 81' {NOT_A_PORT}"),
        (["--ports", "http"], f"--ports: 'http' {NOT_A_PORT}"),
        (["--ports", "*"], f"--ports: '*' {NOT_A_PORT}"),
        (["--ports", "-80"], f"--ports: '-80' {NOT_A_PORT}"),
        (["--ports", "80-"], f"--ports: '80-' {NOT_A_PORT}"),
        (["--ports", "1-2-3"], f"--ports: '1-2-3' {NOT_A_PORT}"),
        (["--ports", "1\n-F"], f"--ports: '1\n-F' {NOT_A_PORT}"),
        (["--ports", "80;reboot"], f"--ports: '80;reboot' {NOT_A_PORT}"),
        (["--ports", "81-80"], "--ports: the range '81-80' ends before it begins"),
        (["print", "--ports", "1,81:80"], "--ports: the range '81:80' ends before it begins"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str) -> None:
    """Found before anything is looked at: neither root nor iptables is needed to be told."""
    for shell in ("dash", "bash"):
        need(shell)
        done = subprocess.run(
            ["env", "-i", shell, SCRIPT, *arguments], capture_output=True, text=True, check=False
        )
        assert done.stderr == f"init.sh: error: {message}\nTry: init.sh --help\n"
        assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["check", "--help", "--nonsense"]])
def test_help(arguments: list[str]) -> None:
    done = subprocess.run(["sh", SCRIPT, *arguments], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    for word in ("install", "uninstall", "check", "print", "--ports", "--backend", "NET_ADMIN"):
        assert f"  {word}" in done.stdout or word in done.stdout.splitlines()[-2]
    assert max(map(len, done.stdout.splitlines())) <= 88


@pytest.mark.parametrize("command", ["install", "uninstall", "check"])
def test_no_permission(command: str, pod: Namespace) -> None:
    refused = (
        "init.sh: error: no permission to change rules: the capability NET_ADMIN is missing. "
        "Run as root with securityContext: {runAsUser: 0, capabilities: {add: [NET_ADMIN]}}\n"
    )
    before = saved(pod)
    for done in (
        init(pod, command, user=1000),
        init(pod, command, shell=only_capabilities("net_raw") + " dash"),
    ):
        assert (done.returncode, done.stdout, done.stderr) == (1, "", refused)
    assert saved(pod) == before


class TestLegacyWithoutNetRaw:
    """iptables-legacy works through a raw socket. Kubernetes' default set has it, `drop` not."""

    SHELL = only_capabilities("net_admin") + " dash"
    HINT = "iptables-legacy needs the capability NET_RAW beside NET_ADMIN"

    def test_asked_for(self, pod: Namespace) -> None:
        done = init(pod, "--backend", "legacy", shell=self.SHELL)
        assert (done.returncode, done.stderr) == (
            1,
            (
                f"init.sh: error: {self.HINT}: add it to the securityContext, or use iptables-nft: "
                "its rules hold against a mesh in either\n"
            ),
        )

    def test_tables_that_cannot_be_looked_at(self, pod: Namespace) -> None:
        KUMA.intercept(pod, "legacy")
        done = init(pod, shell=self.SHELL)
        assert (done.returncode, done.stderr) == (
            0,
            (
                "init.sh: warning: this pod has iptables-legacy tables, which were not looked at: "
                f"{self.HINT}\n"
            ),
        )
        assert "(table raw, nft)" in done.stdout

    def test_none_there(self, pod: Namespace) -> None:
        assert init(pod, shell=self.SHELL).stderr == ""


class TestPrograms:
    """Machines with other iptables programs than this one."""

    def test_none(self, pod: Namespace, programs: Programs) -> None:
        for name in ALL_PROGRAMS:
            programs.remove(name)
        for command in ("install", "uninstall", "check"):
            done = init(pod, command, shell="/bin/dash", prepare=programs.mount)
            assert (done.returncode, done.stderr) == (
                1,
                (
                    "init.sh: error: iptables is not installed: none of iptables-nft-restore, "
                    "iptables-legacy-restore and iptables-restore was found. "
                    "Use the init image of osm-healthcheck, or install the package iptables\n"
                ),
            )

    def test_not_the_back_end_that_was_asked_for(self, pod: Namespace, programs: Programs) -> None:
        programs.remove("iptables-legacy")
        done = init(pod, "--backend", "legacy", prepare=programs.mount)
        assert (done.returncode, done.stderr) == (
            1,
            (
                "init.sh: error: --backend legacy: iptables-legacy-restore is not installed. "
                "Present: nft\n"
            ),
        )

    @pytest.mark.parametrize("backend", ["nft", "legacy"])
    def test_plain_names_only(self, backend: str, pod: Namespace, programs: Programs) -> None:
        """As on Red Hat's machines, and on those of before iptables 1.8."""
        for name in ALL_PROGRAMS:
            programs.remove(name)
        programs.add("iptables", f"iptables-{backend}")
        programs.add("ip6tables", f"ip6tables-{backend}")
        done = init(pod, prepare=programs.mount)
        assert (done.returncode, done.stderr) == (0, "")
        assert f"IPv6: TCP to 15901:15904 goes past the mesh (table raw, {backend})" in done.stdout
        assert init(pod, "check", prepare=programs.mount).returncode == 0
        assert init(pod, "check", "--backend", backend).returncode == 0

    def test_no_ip6tables_where_the_pod_has_ipv6(self, pod: Namespace, programs: Programs) -> None:
        programs.remove("ip6tables-nft")
        programs.remove("ip6tables-legacy")
        done = init(pod, prepare=programs.mount)
        assert done.returncode == 1
        assert "IPv4: TCP to 15901:15904 goes past the mesh" in done.stdout
        assert "error: IPv6: no rules could be installed, and nothing was changed." in done.stderr
        assert "\n  nft, table raw: not installed\n" in done.stderr
        assert init(pod, "check", prepare=programs.mount).returncode == 1

    def test_no_ip6tables_where_the_pod_has_no_ipv6(
        self, pod: Namespace, programs: Programs
    ) -> None:
        pod.run("ip", "-6", "address", "flush", "dev", "eth0")
        programs.remove("ip6tables-nft")
        programs.remove("ip6tables-legacy")
        done = init(pod, prepare=programs.mount)
        assert (done.returncode, done.stderr) == (0, "")
        assert "IPv6: left out, this pod has no IPv6 address" in done.stdout
        done = init(pod, "check", prepare=programs.mount)
        assert (done.returncode, done.stderr) == (0, "")
        assert "IPv6: not in force, and not needed" in done.stdout


class TestKernel:
    """What the kernel refuses. The programs that refuse in its place are stand-ins."""

    def test_no_table_raw(self, pod: Namespace, no_raw: str) -> None:
        done = init(pod, prepare=no_raw)
        assert done.returncode == 0
        assert "IPv4: TCP to 15901:15904 goes past the mesh (table nat, nft)" in done.stdout
        assert "warning: IPv4: table raw or its target CT is missing" in done.stderr
        assert "a mesh that inserts its own jump there later" in done.stderr
        assert "nft, table raw: iptables-restore: unable to initialize table 'raw'" in done.stderr
        once = saved(pod)
        init(pod, prepare=no_raw)
        assert saved(pod) == once
        done = init(pod, "check")
        assert done.returncode == 0
        assert "puts its jump before ours in nat PREROUTING later" in done.stderr
        assert init(pod).returncode == 0  # the table is there now
        assert "*nat" not in saved(pod) or "-j ACCEPT" not in saved(pod)

    def test_table_raw_in_one_back_end_only(self, pod: Namespace, programs: Programs) -> None:
        """That is better than the fall-back in the back end of the mesh."""
        KUMA.intercept(pod, "nft")
        programs.fake("iptables-nft-restore", "echo 'RULE_APPEND failed' >&2; exit 4")
        done = init(pod, prepare=programs.mount)
        assert (done.returncode, done.stderr) == (0, "")
        assert "IPv4: TCP to 15901:15904 goes past the mesh (table raw, legacy)" in done.stdout
        assert "IPv6: TCP to 15901:15904 goes past the mesh (table raw, nft)" in done.stdout

    def test_no_table_at_all(self, pod: Namespace, programs: Programs) -> None:
        for name in ALL_PROGRAMS:
            programs.fake(f"{name}-restore", "echo 'Table does not exist' >&2; exit 3")
        before = saved(pod)
        done = init(pod, prepare=programs.mount)
        assert done.returncode == 1
        assert done.stderr.startswith(
            "init.sh: error: IPv4: no rules could be installed, and nothing was changed. "
            "The kernel of the node has to have table raw with target CT, or at least table nat: "
            "on the node, modprobe iptable_raw and xt_CT (and nft_compat for iptables-nft).\n"
            "  nft, table raw: Table does not exist\n"
            "  legacy, table raw: Table does not exist\n"
            "  nft, table nat: Table does not exist\n"
            "  legacy, table nat: Table does not exist\n"
        )
        assert saved(pod) == before

    def test_the_lock_is_never_free(self, pod: Namespace, programs: Programs) -> None:
        """The words are those of iptables 1.8.9 after its time."""
        programs.fake(
            "iptables-nft-restore",
            "echo 'Another app is currently holding the xtables lock.' >&2; exit 4",
        )
        done = init(pod, prepare=programs.mount)
        assert (done.returncode, done.stdout, done.stderr) == (
            1,
            "",
            (
                "init.sh: error: IPv4: another program held the xtables lock for 30 s. "
                "Run init.sh again\n"
            ),
        )

    def test_rules_that_change_under_its_hands(self, pod: Namespace, programs: Programs) -> None:
        """Between its look and its write another run takes the jump away: it looks again."""
        init(pod)
        once = saved(pod)
        programs.fake(
            "iptables-nft-restore",
            """
            PATH=$PATH:${real%/*}
            ${real%/kept/*}/xtables-nft-multi iptables -t raw -D PREROUTING \\
                -j OSM_HEALTHCHECK_IN 2>/dev/null
            exec "$real" "$@"
            """,
        )
        done = init(pod, prepare=programs.mount)
        assert (done.returncode, done.stderr) == (0, "")
        assert saved(pod) == once

    def test_what_cannot_be_removed(self, pod: Namespace, programs: Programs) -> None:
        init(pod)
        programs.fake("ip6tables-nft-restore", "echo 'Resource busy' >&2; exit 4")
        done = init(pod, "uninstall", prepare=programs.mount)
        assert (done.returncode, done.stdout, done.stderr) == (
            1,
            "init.sh: IPv4: removed from table raw (nft)\n",
            "init.sh: error: IPv6: table raw (nft) still holds our rules: Resource busy\n",
        )

    def test_rules_that_cannot_be_read_are_not_written(
        self, pod: Namespace, programs: Programs
    ) -> None:
        """Who does not know what is there would put it there twice."""
        init(pod)
        once = saved(pod)
        programs.fake("iptables-nft-save", "echo 'table is incompatible' >&2; exit 1")
        done = init(pod, "--backend", "nft", prepare=programs.mount)
        assert done.returncode == 1
        assert "\n  nft, table raw: table is incompatible\n" in done.stderr
        assert saved(pod) == once
