"""Listening TCP sockets by netlink: the kernel looks through those that listen, and no others.

``/proc/net/tcp`` has a line for every connection as well. Any process may ask, without a
capability, for its own network namespace. See sock_diag(7); the layouts are those of
``include/uapi/linux/netlink.h`` (nlmsghdr), ``sock_diag.h`` and ``inet_diag.h``.
"""

import ipaddress
import os
import socket
import struct
from collections.abc import Iterator

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST, _NLM_F_DUMP = 0x1, 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_LISTEN_ONLY = 1 << 10  # include/net/tcp_states.h TCPF_LISTEN

# struct nlmsghdr: length, type, flags, sequence number, port id
_HEADER = struct.Struct("=IHHII")
# struct inet_diag_req_v2: family, protocol, extensions, padding, states; then inet_diag_sockid:
# source and destination port in network order, 16 bytes each for the addresses, interface, cookie
_REQUEST = struct.Struct("=BBBxI2s2s16s16sI8s")
# struct inet_diag_msg up to the source address: family, state, timer, retransmissions, two ports
_MESSAGE = struct.Struct("=BBBB2s2s16s")
_ERROR = struct.Struct("=i")
_RECEIVE_BYTES = 32 * 1024


def listeners(port: int) -> Iterator[str]:
    """The IP address of each socket that listens on ``port``.

    Raises:
        OSError: where the kernel does not answer such questions (gVisor; no ``tcp_diag`` module).
    """
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    for family in (socket.AF_INET, socket.AF_INET6):
        # A socket for each: one that was left in the middle of an answer takes no other question.
        with socket.socket(socket.AF_NETLINK, kind, _NETLINK_SOCK_DIAG) as netlink:
            netlink.sendto(_question(family, port), (0, 0))
            yield from _answers(netlink)


def _question(family: int, port: int) -> bytes:
    zero = bytes(16)
    number = port.to_bytes(2, "big")
    request = _REQUEST.pack(
        family, socket.IPPROTO_TCP, 0, _LISTEN_ONLY, number, b"\0\0", zero, zero, 0, b"\xff" * 8
    )
    length = _HEADER.size + len(request)
    flags = _NLM_F_REQUEST | _NLM_F_DUMP
    return _HEADER.pack(length, _SOCK_DIAG_BY_FAMILY, flags, 0, 0) + request


def _answers(netlink: socket.socket) -> Iterator[str]:
    while True:
        # The kernel has answered by the time that the question is sent; nothing is waited for.
        data = netlink.recv(_RECEIVE_BYTES)
        at = 0
        while at + _HEADER.size <= len(data):
            length, what, _, _, _ = _HEADER.unpack_from(data, at)
            body = data[at + _HEADER.size : at + length]
            if what in (_NLMSG_ERROR, _NLMSG_DONE):
                number = _ERROR.unpack_from(body)[0] if len(body) >= _ERROR.size else 0
                if number:
                    raise OSError(-number, os.strerror(-number))
                return
            family, _, _, _, _, _, address = _MESSAGE.unpack_from(body)
            yield str(ipaddress.ip_address(address[:4] if family == socket.AF_INET else address))
            at += length + -length % 4
