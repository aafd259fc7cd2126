"""Binding: all of it or none of it."""

import errno
import socket
from collections.abc import Iterable, Mapping

from osm_healthcheck.errors import OSMHealthcheckError
from osm_healthcheck.wire.dial import tcp_socket
from osm_healthcheck.wire.errors import authority

BACKLOG = 4096
# What the kernel holds for one connection; accepted sockets inherit it. Left to itself it grows to
# megabytes for each caller that does not read, which a pod's memory limit counts as ours. What has
# been received comes in one piece, so this bounds that piece too.
SEND_BUFFER_BYTES = 8 * 1024
RECEIVE_BUFFER_BYTES = 8 * 1024
_NO_IPV6 = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})


class ListenError(OSMHealthcheckError):
    """A port could not be had.

    ``problem`` says what is wrong without the advice, which is for users of ``serve``.
    """

    def __init__(self, address: str, port: int, option: str, error: OSError) -> None:
        advice = {
            errno.EADDRINUSE: f"another process has it; end that one, or choose {option}",
            errno.EACCES: f"ports below 1024 need root; choose {option}",
            errno.EADDRNOTAVAIL: "this machine has no such address; see --bind",
        }.get(error.errno or 0, f"see {option} and --bind")
        reason = (error.strerror or str(error)).lower()
        self.problem = f"cannot listen on {authority(address, port)}: {reason}"
        super().__init__(f"{self.problem}: {advice}")


def bind_all(
    addresses: Iterable[str],
    ports: Mapping[str, int],
    *,
    optional_ipv6: bool,
    options: Mapping[str, str] | None = None,
) -> dict[str, list[socket.socket]]:
    """Listen with every port on every address, once all of them are bound.

    Args:
        addresses: IP addresses; IPv6 ones take no IPv4 callers in.
        ports: by the name that the result has them under.
        optional_ipv6: leave IPv6 out where the machine has none.
        options: what the option for a port is called, where it is not ``--NAME-port``.

    Raises:
        ListenError: where one cannot be had; none is kept then.
    """
    named = options or {}
    bound: dict[str, list[socket.socket]] = {name: [] for name in ports}
    try:
        for name, port in ports.items():
            for address in addresses:
                try:
                    bound[name].append(_bind(address, port))
                except OSError as error:
                    if optional_ipv6 and ":" in address and error.errno in _NO_IPV6:
                        continue
                    raise ListenError(
                        address, port, named.get(name, f"--{name}-port"), error
                    ) from None
        for name, sockets in bound.items():
            for sock in sockets:
                try:
                    sock.listen(BACKLOG)
                except (
                    OSError
                ) as error:  # two of our own may overlap, such as 0.0.0.0 and 127.0.0.1
                    address, port = sock.getsockname()[:2]
                    raise ListenError(
                        address, port, named.get(name, f"--{name}-port"), error
                    ) from None
    except BaseException:
        for sockets in bound.values():
            for sock in sockets:
                sock.close()
        raise
    return bound


def _bind(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = tcp_socket(family)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        sock.bind((address, port))
    except BaseException:
        sock.close()
        raise
    return sock
