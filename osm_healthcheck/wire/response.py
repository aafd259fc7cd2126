"""An app's answer, whatever protocol it came by."""

from enum import Enum
from typing import Protocol

from osm_healthcheck.probes.request import Headers

# pkg/probe/http/http.go maxRespBodyLength: what comes after that is neither read nor missed
PROBED_BODY_BYTES = 10 * 1024


class Framing(Enum):
    """How the end of a body is told, which is also how a caller can tell a half one."""

    NONE = "there is no body"
    LENGTH = "Content-Length"
    CHUNKED = "each piece has its own length"
    CLOSE = "the end of the connection"


class Response(Protocol):
    """The head of an answer, and its body as it comes."""

    status: int
    reason: bytes
    headers: Headers
    framing: Framing

    def received(self) -> bytes:
        """What has come already of a body of known length; `read` goes on after it."""

    async def read(self) -> bytes:
        """The next piece of the body, without framing, or ``b""`` once it has ended.

        Raises:
            BrokenOffError: where it ends before it is whole.
        """

    def close(self) -> None:
        """Give the connection back; the app sees FIN, also when the body was not read."""
