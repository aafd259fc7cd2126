"""The programs that have no package: built by Go from its module proxy, and kept by version.

    python -m tests.e2e.build [PROGRAM...]      all of them where none is named

Each folder of ``programs/`` is a Go module of its own: its go.mod pins the version, its go.sum
the contents. What is built goes into ``<cache>/<folder>-<digest of the folder>``, and is not built
again until something in that folder changes. The cache is the folder in OSM_HEALTHCHECK_E2E_CACHE,
or /var/tmp/osm-healthcheck-e2e. A program that is in the folder KUBEBUILDER_ASSETS, which envtest
knows as well, is taken from there.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

_SOURCES = Path(__file__).parent / "programs"
_KUBE, _OSM = "k8s.io/kubernetes/cmd/", "github.com/openservicemesh/osm/cmd/"
PROGRAMS = {
    "kube-apiserver": ("kube", _KUBE + "kube-apiserver"),
    "kubectl": ("kube", _KUBE + "kubectl"),
    "kube-controller-manager": ("kube", _KUBE + "kube-controller-manager"),
    "kube-scheduler": ("kube", _KUBE + "kube-scheduler"),
    "kube-proxy": ("kube", _KUBE + "kube-proxy"),
    "kubelet": ("kube", _KUBE + "kubelet"),
    "osm-healthcheck": ("osm", _OSM + "osm-healthcheck"),
    "osm-injector": ("osm", _OSM + "osm-injector"),
    "osm-controller": ("osm", _OSM + "osm-controller"),
    "istio-iptables": ("istio", "./istio-iptables"),
    "pause": ("apps", "./pause"),
    "app": ("apps", "./app"),
}
"""Each program's module, a folder of ``programs/``, and its package."""
_CRDS = ("github.com/openservicemesh/osm", "cmd/osm-bootstrap/crds")
CONTROL_PLANE = ("kube-apiserver", "kubectl")


class MissingError(Exception):
    """A program is not there; the message says where it can come from."""


def cache() -> Path:
    """The folder that keeps what was built."""
    default = "/var/tmp/osm-healthcheck-e2e"
    return Path(os.environ.get("OSM_HEALTHCHECK_E2E_CACHE") or default)


def program(name: str) -> Path:
    """Find a program: in KUBEBUILDER_ASSETS, among what was built here, on PATH.

    Raises:
        MissingError: it is in none of them.
    """
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and (Path(assets) / name).exists():
        return Path(assets) / name
    if name in PROGRAMS:
        built = _folder(PROGRAMS[name][0]) / name
        if built.exists():
            return built
        raise MissingError(f"{name} is not built: python -m tests.e2e.build {name}")
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if found is None:
        raise MissingError(f"{name} is missing: install its package, or run .ci/e2e, which does")
    return Path(found)


def custom_resource_definitions() -> Path:
    """The folder with Open Service Mesh's CRDs; there once its programs are built."""
    return _folder("osm") / "crds"


def build(names: Iterable[str]) -> None:
    """Build those of the programs that are not there.

    Raises:
        MissingError: there is no Go.
        CalledProcessError: it fails; with what it said on standard error.
    """
    wanted: dict[str, list[str]] = {}
    for name in names:
        try:
            program(name)
        except MissingError:
            wanted.setdefault(PROGRAMS[name][0], []).append(name)
    if wanted and shutil.which("go") is None:
        raise MissingError(
            "Go is missing: install it, 1.21 or newer (it fetches the release it needs)"
        )
    cache().mkdir(parents=True, exist_ok=True)
    for module, missing in wanted.items():
        with (cache() / f"{module}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _build(module, [name for name in missing if not (_folder(module) / name).exists()])


def _build(module: str, names: list[str]) -> None:
    if not names:
        return
    print(f"building {', '.join(names)}", flush=True)
    start = time.monotonic()
    packages = [PROGRAMS[name][1] for name in names]
    with tempfile.TemporaryDirectory(dir=cache()) as made:
        argv = ["go", "build", "-trimpath", "-ldflags", _linker_flags(module), "-o", f"{made}/"]
        # No C: what is built runs in any image. No flags of the machine's own: -mod=mod among them
        # would add to go.sum what is not pinned. No git, which may refuse another user's clone.
        flags = "-mod=readonly -buildvcs=false"
        settings = {"CGO_ENABLED": "0", "GOFLAGS": flags, "GOWORK": "off"}
        subprocess.run(
            [*argv, *packages], cwd=_SOURCES / module, env=os.environ | settings, check=True
        )
        _folder(module).mkdir(exist_ok=True)
        if module == "osm":
            _copy(module, *_CRDS, custom_resource_definitions())
        for name in names:
            (Path(made) / name).rename(_folder(module) / name)
    print(f"built in {time.monotonic() - start:.0f} s", flush=True)


def _copy(module: str, package: str, path: str, target: Path) -> None:
    """Copy a folder of a module that one of ``programs/`` requires."""
    argv = ["go", "list", "-m", "-f", "{{.Dir}}", package]
    done = subprocess.run(
        argv, cwd=_SOURCES / module, stdout=subprocess.PIPE, text=True, check=True
    )
    target.mkdir(exist_ok=True)
    for file in (Path(done.stdout.strip()) / path).iterdir():
        (target / file.name).write_bytes(file.read_bytes())


def _linker_flags(module: str) -> str:
    """Without symbols; Kubernetes' programs are told their version, which they compare."""
    flags = "-s -w"
    if module == "kube":
        version = next(
            line.split()[-1]
            for line in (_SOURCES / "kube/go.mod").read_text().splitlines()
            if line.startswith("require k8s.io/kubernetes ")
        )
        major, minor, _ = version.removeprefix("v").split(".")
        told = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
        for name, value in (told | {"gitTreeState": "clean"}).items():
            flags += f" -X k8s.io/component-base/version.{name}={value}"
    return flags


def _folder(module: str) -> Path:
    digest = hashlib.sha256()
    for path in sorted((_SOURCES / module).rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(_SOURCES)}\n".encode() + path.read_bytes())
    return cache() / f"{module}-{digest.hexdigest()[:12]}"


if __name__ == "__main__":
    unknown = set(sys.argv[1:]) - PROGRAMS.keys()
    if unknown:
        sys.exit(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(PROGRAMS)}")
    try:
        build(sys.argv[1:] or PROGRAMS)
    except subprocess.CalledProcessError as error:
        sys.exit(f"building failed: {' '.join(error.cmd)}")
    except MissingError as error:
        sys.exit(str(error))
