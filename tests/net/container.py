"""Runs programs of an image in a pod as a cluster does, from nothing but the image's files.

The root is the image's, mounted read-only, with /proc and /dev; the user is any; the capabilities
are those that are named and no program can gain more. A container runtime does the same, but takes
control groups, which a machine that runs these tests need not have.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

NET_ADMIN, NET_RAW, SYS_ADMIN = 12, 13, 21
"""Capabilities by their numbers."""

_MOUNT = """
root=$1
shift
mkdir -p "$root/proc" "$root/dev" &&
mount --bind "$root" "$root" &&
mount -t proc proc "$root/proc" &&
mount --rbind /dev "$root/dev" &&
mount -o remount,bind,ro "$root" &&
exec "$@"
"""

_ENTER = """
import ctypes, json, os, signal, sys
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38
prctl = ctypes.CDLL(None).prctl
given = json.loads(sys.argv[1])
os.chroot(given["root"])
os.chdir("/")
with open("/proc/sys/kernel/cap_last_cap") as file:
    last = int(file.read())
for capability in set(range(last + 1)) - set(given["capabilities"]):
    assert prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0
os.setgroups([])
os.setresgid(*[given["user"]] * 3)
os.setresuid(*[given["user"]] * 3)
assert prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
os.execve(given["argv"][0], given["argv"], given["environ"])
"""


@dataclass(frozen=True)
class Image:
    """An image to test.

    Attributes:
        root: the directory that holds its files.
        config: what it says of itself, as OCI names it: Entrypoint, User, Env and so on.
    """

    root: Path
    config: Mapping[str, Any]

    def run(
        self,
        *arguments: str,
        entrypoint: Sequence[str] = (),
        user: int,
        capabilities: Sequence[int] = (),
        env: Mapping[str, str] | None = None,
    ) -> list[str]:
        """The command that runs the image, for ``Namespace.run`` or ``Namespace.start``.

        The process that it starts is the program itself in the end.

        Args:
            arguments: of the program; in a manifest ``args``.
            entrypoint: instead of the image's own; in a manifest ``command``.
            user: the user and group ID.
            capabilities: that it has, by number.
            env: variables on top of the image's own.
        """
        own = dict(pair.split("=", 1) for pair in self.config.get("Env", ()))
        spec = {
            "root": str(self.root),
            "argv": [*(entrypoint or self.config["Entrypoint"]), *arguments],
            "user": user,
            "capabilities": list(capabilities),
            "environ": {**own, **(env or {})},
        }
        enter = [sys.executable, "-ISc", _ENTER, json.dumps(spec)]
        return ["sh", "-c", _MOUNT, "sh", str(self.root), *enter]


def image(name: str) -> Image:
    """The image of this name under the directory that ``IMAGES`` names, with what buildah
    says of it beside it.

    Without ``IMAGES`` the test is skipped, in CI too: images are built after the other tests.
    """
    folder = os.environ.get("IMAGES")
    if not folder:
        pytest.skip("no images to test; .ci/images builds them and runs this")
    inspected = json.loads(Path(folder, f"{name}.json").read_text())
    return Image(Path(folder, name).resolve(strict=True), inspected["OCIv1"]["config"])
