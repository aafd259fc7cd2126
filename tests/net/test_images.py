"""What the images hold and do, run from their own files in a pod.

Skipped where there are no images: .ci/images builds them and runs these tests.
"""

import http.client
import json
import os
import random
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from .container import NET_ADMIN, NET_RAW, SYS_ADMIN, Image, image
from .init_script import SCRIPT, saved
from .meshes import FIRST, OSM, RULES
from .namespaces import PATIENCE, Namespace

SOME_USER = random.randrange(100_000, 2_000_000_000)
"""As OpenShift, for one, gives each project a range of its own."""


@pytest.fixture
def sidecar() -> Image:
    return image("sidecar")


@pytest.fixture
def injector() -> Image:
    return image("injector")


@pytest.fixture
def node_mode() -> Image:
    return image("node")


@pytest.fixture
def init() -> Image:
    return image("init")


def start(pod: Namespace, argv: list[str], sign: str) -> subprocess.Popen[str]:
    """Start a program and wait until a line on its standard error has this sign."""
    process = pod.start(*argv)
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if sign in line:
            return process
    pytest.fail(f"{sign!r} never came: {said}")


def get(
    caller: Namespace, host: str, port: int, path: str, headers: dict[str, str] | None = None
) -> tuple[int, str]:
    """The status and body that a caller in a namespace gets."""
    connection = http.client.HTTPConnection(host, port)
    connection.sock = caller.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    connection.sock.settimeout(PATIENCE)
    connection.sock.connect((host, port))
    try:
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def check(node: Namespace, host: str, port: int) -> int:
    """The status of a tcpSocket check."""
    headers = {"Original-Tcp-Port": str(port)}
    return get(node, host, 15904, "/osm-healthcheck", headers)[0]


def writable_or_special(root: Path) -> list[str]:
    """Files that somebody else than root could change, or that give their caller rights."""
    bad = []
    for folder, names, files in os.walk(root):
        for name in (*names, *files):
            status = Path(folder, name).lstat()
            mode = stat.S_IMODE(status.st_mode)
            if not stat.S_ISLNK(status.st_mode) and (status.st_uid or mode & 0o6022):
                bad.append(str(Path(folder, name).relative_to(root)))
    return bad


def packages(root: Path) -> set[str]:
    """The packages that scanners find."""
    return {path.name for path in (root / "var/lib/dpkg/status.d").iterdir()}


class TestSidecar:
    def test_what_it_says_of_itself(self, sidecar: Image) -> None:
        assert sidecar.config["Entrypoint"] == ["/osm-healthcheck"]
        # By number: that is how the kubelet knows for runAsNonRoot.
        assert sidecar.config["User"] == "15904:15904"
        assert set(sidecar.config["ExposedPorts"]) == {
            f"{port}/tcp" for port in range(15901, 15905)
        }

    @pytest.mark.parametrize("version", [4, 6])
    def test_started_as_osm_does_it(
        self, sidecar: Image, pod: Namespace, node: Namespace, version: int
    ) -> None:
        host = pod.ipv4 if version == 4 else pod.ipv6
        start(pod, sidecar.run("--verbosity", "info", user=SOME_USER), '"ready"')
        with pod.serving({8080: "app"}):
            assert check(node, host, 8080) == 200
        assert check(node, host, 8080) == 404

    def test_declared_probes_of_a_web_server(
        self, sidecar: Image, pod: Namespace, node: Namespace, tmp_path: Path
    ) -> None:
        (tmp_path / "healthz").write_text("all is well\n")
        serve = ("-Iu", "-m", "http.server", "--directory", tmp_path, "8080")
        app = pod.start(sys.executable, *serve)
        assert app.stdout is not None
        assert app.stdout.readline().startswith("Serving HTTP")
        probes = {
            "web": {
                "livenessProbe": {"httpGet": {"path": "/healthz", "port": 8080}},
                "readinessProbe": {"httpGet": {"path": "/missing", "port": 8080}},
                "startupProbe": {"tcpSocket": {"port": 8080}},
            }
        }
        env = {"OSM_HEALTHCHECK_PROBES": json.dumps(probes)}
        start(pod, sidecar.run(user=SOME_USER, env=env), '"ready"')
        liveness = (node, pod.ipv4, 15901, "/osm-liveness-probe")
        assert get(*liveness) == (200, "all is well\n")
        assert get(node, pod.ipv4, 15902, "/osm-readiness-probe")[0] == 404
        assert check(node, pod.ipv4, 8080) == 200
        assert check(node, pod.ipv4, 8081) == 403
        app.kill()
        app.wait()
        assert get(*liveness)[0] == 503
        assert check(node, pod.ipv4, 8080) == 404

    def test_it_runs_with_nothing_in_its_hands(self, sidecar: Image, pod: Namespace) -> None:
        """That the other tests are what they say, and that it ends when it is told."""
        process = start(pod, sidecar.run(user=SOME_USER), '"ready"')
        proc = Path("/proc", str(process.pid))
        status = dict(
            line.split(":\t", 1)
            for line in (proc / "status").read_text().splitlines()
            if ":\t" in line
        )
        assert {status[f"Cap{name}"] for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
        assert status["Uid"] == status["Gid"] == "\t".join([str(SOME_USER)] * 4)
        assert status["NoNewPrivs"] == "1"
        assert os.statvfs(proc / "root").f_flag & os.ST_RDONLY
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0

    def test_nothing_is_missing(self, sidecar: Image, pod: Namespace) -> None:
        """Every module can be imported, with whatever it needs, but for PyYAML: see Dockerfile."""
        code = (
            "import importlib, pkgutil, osm_healthcheck as package\n"
            "for module in pkgutil.walk_packages(package.__path__, 'osm_healthcheck.'):\n"
            "    if not module.name.endswith('__main__'):\n"
            "        try:\n"
            "            importlib.import_module(module.name)\n"
            "        except ModuleNotFoundError as error:\n"
            "            assert error.name == 'yaml', error\n"
            "        print(module.name)\n"
        )
        python = ("/opt/osm-healthcheck/bin/python", "-IOO")
        done = pod.run(*sidecar.run("-c", code, entrypoint=python, user=SOME_USER))
        assert "osm_healthcheck.server.serve" in done.stdout.split()

    def test_nothing_is_too_much(self, sidecar: Image) -> None:
        assert writable_or_special(sidecar.root) == []
        folders = ("bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin", "opt/osm-healthcheck/bin")
        found = {path.name for folder in folders for path in sidecar.root.glob(f"{folder}/*")}
        assert found == {"python", "python3", "python3.15"}
        suffixes = {path.suffix for path in sidecar.root.rglob("*")}
        assert not suffixes & {".py", ".pyi", ".pyx", ".pxd", ".c", ".h", ".a"}

    def test_scanners_find_its_packages(self, sidecar: Image) -> None:
        assert packages(sidecar.root) >= {"libc6"}
        assert (sidecar.root / "etc/os-release").is_file()
        wheels = sidecar.root.glob("opt/osm-healthcheck/lib/*/site-packages/*.dist-info")
        assert {"aiohttp", "uvloop"} <= {path.name.partition("-")[0] for path in wheels}


def more_than(larger: Path, smaller: Path) -> set[str]:
    """The files that ``larger`` has beside all of ``smaller``."""

    def files(root: Path) -> set[str]:
        return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}

    assert files(smaller) <= files(larger)
    return files(larger) - files(smaller)


class TestInjector:
    def test_what_it_says_of_itself(self, injector: Image) -> None:
        assert injector.config["Entrypoint"] == ["/osm-healthcheck", "injector"]
        assert injector.config["User"] == "15904:15904"
        assert set(injector.config["ExposedPorts"]) == {"9090/tcp", "9091/tcp"}

    def test_it_makes_certificates(self, injector: Image, pod: Namespace) -> None:
        code = (
            "from osm_healthcheck.injector.key_pair import make_key_pair\n"
            "print(make_key_pair(['injector.mesh.svc'], 3600).chain.decode())\n"
        )
        python = ("/opt/osm-healthcheck/bin/python", "-IOOXlazy_imports=all")
        done = pod.run(*injector.run("-c", code, entrypoint=python, user=SOME_USER))
        assert done.stdout.startswith("-----BEGIN CERTIFICATE-----\n")

    def test_it_says_what_it_lacks(self, injector: Image, pod: Namespace) -> None:
        """Outside a cluster, and with nothing that would tell it of one."""
        done = pod.run(*injector.run(user=SOME_USER), check=False)
        assert done.returncode in (1, 2)
        assert "Traceback" not in done.stderr
        assert "service" in done.stderr.lower()

    def test_it_is_the_sidecars_and_a_little_more(self, injector: Image, sidecar: Image) -> None:
        more = more_than(injector.root, sidecar.root)
        assert {path.partition("/")[0] for path in more} <= {"opt", "usr", "lib", "var"}
        assert writable_or_special(injector.root) == []
        assert not {Path(path).suffix for path in more} & {".py", ".pyi", ".c", ".h", ".a"}


class TestNode:
    def test_what_it_says_of_itself(self, node_mode: Image) -> None:
        assert node_mode.config["Entrypoint"] == ["/osm-healthcheck"]
        assert node_mode.config["User"] == "15904:15904"

    def test_it_installs_the_bypass_from_outside(self, node_mode: Image, pod: Namespace) -> None:
        """With the capabilities that the chart adds, under a read-only root."""
        code = (
            "import asyncio, sys, pathlib\n"
            "from osm_healthcheck.node.bypass import Bypass\n"
            "from osm_healthcheck.node.network_namespace import NetworkNamespace\n"
            "bypass = Bypass(pathlib.Path('/init.sh'))\n"
            "asyncio.run(bypass.install(NetworkNamespace('/proc/self/ns/net'), sys.argv[1:]))\n"
        )
        python = ("/opt/osm-healthcheck/bin/python", "-IOOXlazy_imports=all")
        rights = [SYS_ADMIN, NET_ADMIN]
        arguments = ("-c", code, pod.ipv4, pod.ipv6)
        pod.run(*node_mode.run(*arguments, entrypoint=python, user=0, capabilities=rights))
        assert saved(pod, "nft").count("-j OSM_HEALTHCHECK_IN") == 2  # IPv4 and IPv6
        pod.run("sh", SCRIPT, "check")

    def test_it_is_the_sidecars_with_iptables(self, node_mode: Image, sidecar: Image) -> None:
        more = more_than(node_mode.root, sidecar.root)
        programs = {Path(one).name for one in more if {"bin", "sbin"} & {*Path(one).parts}}
        assert {name for name in programs if "tables" not in name} == {"sh", "cat"}
        assert "init.sh" in more
        assert packages(node_mode.root) >= packages(sidecar.root) | {"iptables", "dash"}
        assert writable_or_special(node_mode.root) == []


class TestInit:
    def test_what_it_says_of_itself(self, init: Image) -> None:
        assert init.config["Entrypoint"] == ["/init.sh"]

    @pytest.mark.parametrize(
        ("backend", "capabilities"),
        [("nft", [NET_ADMIN]), ("legacy", [NET_ADMIN, NET_RAW])],
        ids=["nft", "legacy"],
    )
    def test_the_bypass(
        self,
        init: Image,
        pod: Namespace,
        node: Namespace,
        backend: str,
        capabilities: list[int],
    ) -> None:
        def run(*arguments: str) -> subprocess.CompletedProcess[str]:
            argv = init.run(*arguments, user=0, capabilities=capabilities)
            return pod.run(*argv, check=False)

        FIRST.intercept(pod, backend)
        before = saved(pod)
        with pod.serving({15904: "sidecar"}), FIRST.proxy(pod):
            assert node.ask(pod.ipv4, 15904) == "inbound"
            assert run("check").returncode == 1
            done = run()
            assert (done.returncode, done.stderr) == (0, "")
            assert (
                f"IPv4: TCP to 15901:15904 goes past the mesh (table raw, {backend})" in done.stdout
            )
            once = saved(pod)
            assert run("check").returncode == 0
            assert node.ask(pod.ipv4, 15904) == "sidecar"
            assert node.ask(pod.ipv6, 15904) == "sidecar"
            assert node.ask(pod.ipv4, 8080) == "inbound"
            assert run().returncode == 0
            assert saved(pod) == once
            assert run("uninstall").returncode == 0
            assert node.ask(pod.ipv4, 15904) == "inbound"
        assert saved(pod).count("OSM_HEALTHCHECK") == before.count("OSM_HEALTHCHECK") == 0

    def test_where_osm_runs_its_own_rules_in_it(
        self, init: Image, pod: Namespace, node: Namespace
    ) -> None:
        """OSM's injector: ``command: [/bin/sh]``, and the rules as a document in the shell."""
        rules = (RULES / "osm.ipv4").read_text()
        script = f"iptables-restore --noflush <<EOF\n{rules}\nEOF\n"
        capabilities = [NET_ADMIN]
        pod.run(*init.run("-c", script, entrypoint=["/bin/sh"], user=0, capabilities=capabilities))
        with pod.serving({8080: "app", 15904: "sidecar"}), OSM.proxy(pod):
            assert node.ask(pod.ipv4, 8080) == "inbound"
            assert node.ask(pod.ipv4, 15904) == "sidecar"
        assert "OSM_PROXY_INBOUND" in saved(pod, "nft")
        done = pod.run(*init.run(user=0, capabilities=capabilities))
        assert "table raw, nft" in done.stdout

    def test_without_rights_it_says_what_is_missing(self, init: Image, pod: Namespace) -> None:
        done = pod.run(*init.run(user=SOME_USER), check=False)
        assert done.returncode == 1
        assert "the capability NET_ADMIN is missing" in done.stderr

    def test_nothing_is_too_much(self, init: Image) -> None:
        assert writable_or_special(init.root) == []
        folders = ("bin", "sbin", "usr/bin", "usr/sbin")
        found = {path.name for folder in folders for path in init.root.glob(f"{folder}/*")}
        assert {name for name in found if "tables" not in name} == {"sh", "cat"}

    def test_scanners_find_its_packages(self, init: Image) -> None:
        assert packages(init.root) >= {"libc6", "iptables", "dash"}
