"""The rules that keep a mesh's redirect off the probe ports, put in place from outside of the pod.

They are those of ``iptables/init.sh``, which prints them, and end with the pod's namespace.
"""

import asyncio
import contextlib
import os
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from osm_healthcheck.errors import OSMHealthcheckError
from osm_healthcheck.node.network_namespace import NetworkNamespace

if TYPE_CHECKING:
    from subprocess import Popen

_SECONDS = 30
# A pod with NET_ADMIN may have as many rules as it likes; iptables reads all of them.
_MAX_OUTPUT_BYTES = 1024 * 1024
_MAX_MEMORY_BYTES = 64 * 1024 * 1024
_CHUNK_BYTES = 64 * 1024
_POLL_SECONDS = 0.001
# both of ours, as iptables-save has them
_JUMPS = (b"-A PREROUTING -j OSM_HEALTHCHECK_IN\n", b"-A OUTPUT -j OSM_HEALTHCHECK_OUT\n")
_BACKENDS = ("nft", "legacy")
_ENVIRONMENT = {
    "PATH": os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin",
    # iptables-legacy makes a lock file; the network namespace is what it stands for
    "XTABLES_LOCKFILE": "/proc/self/ns/net",
}


class BypassError(OSMHealthcheckError):
    """The rules could not be had, or not be put in place; the text has the words of iptables."""


class Bypass:
    """Installs the rules that ``script``, which is ``iptables/init.sh``, prints.

    Raises:
        BypassError: where it prints none.
    """

    def __init__(self, script: Path) -> None:
        command = ["sh", os.fspath(script), "print"]
        import subprocess

        try:
            done = subprocess.run(  # noqa: S603  # what the command line names
                command, capture_output=True, timeout=_SECONDS, check=False, env=_ENVIRONMENT
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise BypassError(f"{script}: {error}") from None
        if done.returncode or b"\n*raw\n" not in b"\n" + done.stdout:
            words = done.stderr.decode("utf-8", "replace").strip()
            raise BypassError(f"{script} prints no rules: {words or 'is it init.sh?'}")
        self._rules = done.stdout

    async def install(self, network: NetworkNamespace, addresses: Sequence[str]) -> None:
        """Put the rules in place in ``network``, where they are not, for IPv4 and IPv6.

        Args:
            network: of the pod.
            addresses: of the pod; where none is IPv6, it may have no rules for that.

        Raises:
            BypassError: where that cannot be done.
        """
        await self._install(network, "iptables")
        try:
            await self._install(network, "ip6tables")
        except BypassError:
            if any(":" in one for one in addresses):
                raise

    async def _install(self, network: NetworkNamespace, tool: str) -> None:
        reasons = []
        for backend in _BACKENDS:
            status, rules = await _run(network, f"{tool}-{backend}-save", "-t", "raw")
            if status == 0 and all(jump in rules for jump in _JUMPS):
                return
            restore = (f"{tool}-{backend}-restore", "--noflush", "-w", str(_SECONDS))
            status, words = await _run(network, *restore, stdin=self._rules)
            if status == 0:
                return
            reasons.append(f"{restore[0]}: {words.decode('utf-8', 'replace').strip()}")
        raise BypassError("the bypass cannot be installed: " + "; ".join(reasons))


async def _run(network: NetworkNamespace, *command: str, stdin: bytes = b"") -> tuple[int, bytes]:
    """Run a command there: its status and what it wrote."""
    try:
        process = network.spawn(command, _ENVIRONMENT)
    except OSError as error:
        return 127, (error.strerror or str(error)).lower().encode()
    try:
        async with asyncio.timeout(_SECONDS):
            words = await _output(process, stdin)
            if len(words) > _MAX_OUTPUT_BYTES:
                return 1, f"its output is over {_MAX_OUTPUT_BYTES} bytes".encode()
            while (status := process.poll()) is None:  # noqa: ASYNC110  # it is ending
                await asyncio.sleep(_POLL_SECONDS)
            return status, words
    except TimeoutError:
        return 1, f"no end after {_SECONDS} s".encode()
    finally:
        if process.poll() is None:
            process.kill()  # it is reaped when the next one is started


async def _output(process: "Popen[bytes]", stdin: bytes) -> bytes:
    """Write ``stdin``, which is less than a pipe holds, and read all output, or too much of it."""
    with contextlib.suppress(OSError):  # it has ended already; its output says why
        resource.prlimit(process.pid, resource.RLIMIT_AS, (_MAX_MEMORY_BYTES, _MAX_MEMORY_BYTES))
        with cast("IO[bytes]", process.stdin) as pipe:
            pipe.write(stdin)
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), process.stdout
    )
    words = bytearray()
    try:
        while len(words) <= _MAX_OUTPUT_BYTES and (piece := await reader.read(_CHUNK_BYTES)):
            words += piece
    finally:
        transport.close()
    return bytes(words)
