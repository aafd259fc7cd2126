"""The TCP check that every competitor does, so that only what surrounds it differs.

Over loopback a non-blocking connect is decided when it returns: a second ``connect_ex`` at once
says whether it was accepted. It is the cheapest honest check there is.
"""

import errno
import socket

HOST = "127.0.0.1"
HEADER = "Original-Tcp-Port"


def accepts(port: int) -> bool:
    """Whether something on loopback accepts connections on this port."""
    address = (HOST, port)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as dialled:
        error = dialled.connect_ex(address)
        if error == errno.EINPROGRESS:
            error = dialled.connect_ex(address)
    return error in (0, errno.EISCONN)
