"""Runs ``iptables/init.sh`` in a namespace, also on machines that lack this or that."""

import re
import shutil
import subprocess
from pathlib import Path

from .namespaces import Namespace

SCRIPT = Path(__file__).parents[2] / "iptables" / "init.sh"
SHELLS = ("dash", "busybox ash", "bash --posix")


def init(
    pod: Namespace,
    *arguments: str,
    shell: str = "dash",
    prepare: str = ":",
    user: int | None = None,
    env: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run ``init.sh`` with these arguments in a pod.

    Args:
        pod: where.
        arguments: of the script.
        shell: what runs it.
        prepare: shell commands that come before, such as mounts. They are the script's own
            process and only this run sees the mounts: ``ip netns exec`` makes a mount namespace.
        user: the user ID to run it as.
        env: variables on top of the environment.
    """
    line = f'{prepare} && exec {shell} "$@"'
    return pod.run("sh", "-c", line, "sh", SCRIPT, *arguments, user=user, env=env, check=False)


def only_capabilities(*names: str) -> str:
    """A prefix for `shell` that leaves root these capabilities alone, such as "net_admin"."""
    left = ",".join(["-all", *(f"+{name}" for name in names)])
    return f"setpriv --bounding-set={left} --inh-caps={left}"


class Programs:
    """Another set of iptables programs than the machine's: a directory in place of /usr/sbin.

    They are real, from copies of the machine's own binaries, but for :meth:`fake`.
    """

    def __init__(self, folder: Path, *names: str) -> None:
        """Make a folder with programs by name, such as "iptables-nft"."""
        self.folder = folder / "sbin"
        self._real = folder / "real"
        for made in (self.folder, self._real):
            made.mkdir()
        for name in names:
            self.add(name)

    def add(self, name: str, real: str = "") -> None:
        """Add a program with its -restore and -save; `real` is what it is, if not its name."""
        for suffix in ("", "-restore", "-save"):
            found = shutil.which(f"{real or name}{suffix}")
            assert found is not None
            binary = Path(found).resolve()
            copy = self._real / binary.name
            if not copy.exists():
                shutil.copy(binary, copy)
            # The binary looks at the name it is called by to know what it is.
            (self.folder / f"{name}{suffix}").symlink_to(copy)

    def remove(self, name: str) -> None:
        """Take a program away, with its -restore and -save."""
        for suffix in ("", "-restore", "-save"):
            (self.folder / f"{name}{suffix}").unlink()

    def fake(self, name: str, script: str) -> None:
        """Put a shell script in place of a program. The real one is `$real`."""
        path = self.folder / name
        real = self._real / "kept" / name
        real.parent.mkdir(exist_ok=True)
        path.rename(real)
        path.write_text(f"#!/bin/sh\nreal={real}\n{script}\n")
        path.chmod(0o755)

    @property
    def mount(self) -> str:
        """What to hand to :func:`init` as `prepare`."""
        return f"mount --bind {self.folder} /usr/sbin"


def saved(pod: Namespace, *backends: str) -> str:
    """All rules of a pod in the format of ``iptables-save``, without counters and comments."""
    tools = [
        f"{tool}-{backend}-save"
        for backend in backends or ("nft", "legacy")
        for tool in ("iptables", "ip6tables")
    ]
    text = "".join(f"# {tool}\n{pod.run(tool).stdout}" for tool in tools)
    text = re.sub(r"^# (Generated|Completed|Table).*\n", "", text, flags=re.MULTILINE)
    return re.sub(r"\[\d+:\d+\]", "[0:0]", text)
