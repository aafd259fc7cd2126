"""Connecting as the kubelet does, and its words where that fails."""

import errno
import os

from osm_healthcheck.kubelet.address import LookupFailedError, PodAddress, resolve
from osm_healthcheck.wire.dial import dial
from osm_healthcheck.wire.errors import RefusedError, authority
from osm_healthcheck.wire.stream import Stream

# The kubelet whose rules these are. An app may look at its caller's name.
USER_AGENT = "kube-probe/1.36"


async def connect(host: str, port: int, pod: PodAddress) -> Stream:
    """Connect to ``port`` of ``host``.

    Raises:
        LookupFailedError: where the host has no address.
        RefusedError: where none of its addresses takes the connection.
    """
    stream, _ = await dial(await resolve(host), pod.port(host, port))
    return stream


def dial_error(error: RefusedError | LookupFailedError) -> str:
    """``error`` in the words of Go's ``net.OpError``."""
    if isinstance(error, LookupFailedError):
        return f"dial tcp: {error}"
    # Go's table of errno texts, which is the C library's in small letters
    reason = os.strerror(error.code).lower()
    call = "socket" if error.code in (errno.EMFILE, errno.ENFILE) else "connect"
    return f"dial tcp {authority(error.address, error.port)}: {call}: {reason}"
