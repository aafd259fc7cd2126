"""What a socket may be used for in the network of a pod, held by the kernel.

Whoever has a TCP socket can disconnect it and connect it to anything that the pod can reach
(``connect()`` to AF_UNSPEC, ``shutdown()`` of a listening one). A filter on what the socket
receives prevents that; it is locked, and passed on to the connections that a listening socket
accepts. Where no answer can be received, there is no connection.

``Documentation/networking/filter.rst`` of Linux; ``SO_LOCK_FILTER`` in ``socket(7)``.
"""

import ctypes
import socket
import struct

_SO_ATTACH_FILTER, _SO_LOCK_FILTER = 26, 44
_INSTRUCTION = struct.Struct("HBBI")
# include/uapi/linux/filter.h and bpf_common.h
_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE, _AND, _RETURN = 0x20, 0x28, 0x30, 0x54, 0x06
_JUMP_IF_EQUAL, _JUMP_IF_EQUAL_TO_X, _SET_X = 0x15, 0x1D, 0x07
_DEVICE_TYPE = 0xFFFFF000 + 28  # SKF_AD_OFF + SKF_AD_HATYPE
_LOOPBACK = 772  # include/uapi/linux/if_arp.h
# bytes of the TCP header, at which a filter on a TCP socket begins
_SOURCE_PORT, _DESTINATION_PORT, _TCP_FLAGS = 0, 2, 13
_SYN, _SYN_ACK = 0x02, 0x12
_ALL, _NOTHING = 0xFFFFFFFF, 0


class _Program:
    def __init__(self, *instructions: tuple[int, int, int, int]) -> None:
        code = b"".join(_INSTRUCTION.pack(*one) for one in instructions)
        self._code = ctypes.create_string_buffer(code, len(code))
        address = ctypes.addressof(self._code)
        self._description = struct.pack("HP", len(instructions), address)  # struct sock_fprog

    def attach(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, self._description)
        sock.setsockopt(socket.SOL_SOCKET, _SO_LOCK_FILTER, 1)


# Takes what came over a loopback device, by which a pod reaches itself at any of its addresses, but
# no call of somebody else: of SYNs only the one that a socket has sent to its own port, since a
# dial that the kernel connects to itself is a refusal (see `Attempt`).
_FROM_ITSELF = _Program(
    (_LOAD_WORD, 0, 0, _DEVICE_TYPE),
    (_JUMP_IF_EQUAL, 0, 8, _LOOPBACK),
    (_LOAD_BYTE, 0, 0, _TCP_FLAGS),
    (_AND, 0, 0, _SYN_ACK),
    (_JUMP_IF_EQUAL, 0, 4, _SYN),
    (_LOAD_HALF, 0, 0, _SOURCE_PORT),
    (_SET_X, 0, 0, 0),
    (_LOAD_HALF, 0, 0, _DESTINATION_PORT),
    (_JUMP_IF_EQUAL_TO_X, 0, 1, 0),
    (_RETURN, 0, 0, _ALL),
    (_RETURN, 0, 0, _NOTHING),
)
# takes everything but the answer to a connection that was begun here
_NO_ANSWER = _Program(
    (_LOAD_BYTE, 0, 0, _TCP_FLAGS),
    (_AND, 0, 0, _SYN_ACK),
    (_JUMP_IF_EQUAL, 0, 1, _SYN_ACK),
    (_RETURN, 0, 0, _NOTHING),
    (_RETURN, 0, 0, _ALL),
)


def allow_the_pod_itself(sock: socket.socket) -> None:
    """Let ``sock`` be connected to the pod of its network namespace, and to nothing else.

    It cannot take calls either, as a service of the pod.

    Raises:
        OSError: where the kernel does not take the filter.
    """
    _FROM_ITSELF.attach(sock)


def allow_callers(sock: socket.socket) -> None:
    """Let ``sock``, and what it accepts, be called, and never be connected to anything.

    Raises:
        OSError: where the kernel does not take the filter.
    """
    _NO_ANSWER.attach(sock)
