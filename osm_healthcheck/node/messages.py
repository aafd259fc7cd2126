"""What the server of node mode and the process that holds the pods' networks say to each other.

They talk over a unix socket (SOCK_SEQPACKET), where a message has its length. A request is a
letter, a byte and the id of a pod: there is next to nothing to be read for the process that has
rights. What that one says is a letter, an object in JSON and a newline, and for `FOUND` the pod's
annotation as it is.
"""

import json
import socket
import struct
from collections.abc import Mapping
from typing import Any

# requests; the byte is a bit for each of 15901-15904, and 4 or 6
LISTEN, SOCKETS = b"L", b"S"
# requests without a pod: a connection to the agent that serves, and a socket for the next one
TAKE_OVER, HAND_OVER = b"T", b"H"
# and what is said without being asked; see `PodConsumer`
FOUND, UNUSABLE, GONE, LISTED, UNAVAILABLE = b"F", b"U", b"G", b"A", b"N"

FIRST_PORT, PORTS = 15901, 4
MAX_REQUEST_BYTES = 256
MAX_MESSAGE_BYTES = 64 * 1024
# sockets to connect with that are made at once, ahead of need; also two for each port listened on
SOCKETS_AT_ONCE = 8
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
VERSIONS = {family: version for version, family in FAMILIES.items()}

_CREDENTIALS = struct.Struct("iII")  # struct ucred: process, user, group


def encode(kind: bytes, said: Mapping[str, object], rest: bytes = b"") -> bytes:
    """A message of the process that holds the networks."""
    return b"".join((kind, json.dumps(said).encode(), b"\n", rest))


def decode(message: bytes) -> tuple[bytes, Any, bytes]:
    """The kind, the object and the rest of such a message.

    Raises:
        ValueError: where it is none.
    """
    said, _, rest = message[1:].partition(b"\n")
    return message[:1], json.loads(said), rest


def user_of_peer(sock: socket.socket) -> int:
    """The user id of the process at the other end of a unix socket, as it was when it connected."""
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    user: int = _CREDENTIALS.unpack(credentials)[1]
    return user
