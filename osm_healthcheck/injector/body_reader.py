"""Reads the bodies of requests, of all callers together within a number of bytes."""

import asyncio

from aiohttp import web

from osm_healthcheck.errors import OSMHealthcheckError

# The API server takes objects of 3 MiB (apiserver/pkg/server/options: MaxRequestBodyBytes); JSON
# may be longer than the form in which they came, and the review is around them.
MAX_BODY_BYTES = 4 << 20
# An object or array of two bytes takes 100 and more once it is read. A pod of a hundred containers
# with a hundred variables each has 60,000, its managedFields included.
MAX_BRACKETS = 100_000
_MAX_BYTES_UNDER_WAY = 16 << 20
_SECONDS = 10.0


class BodyError(OSMHealthcheckError):
    """A body that is not read to its end, or not used; ``status`` is that of the answer."""

    def __init__(self, status: int, problem: str) -> None:
        self.status = status
        super().__init__(f"body: {problem}")


class BodyReader:
    """Reads bodies. Where those under way hold too much together, the oldest is given up.

    The API server sends a pod at once: who is slow takes nobody's place.
    """

    def __init__(self) -> None:
        self._under_way: dict[asyncio.Timeout, int] = {}  # what has come of each, the oldest first

    async def read(self, request: web.BaseRequest) -> bytes:
        """The body of ``request``.

        Raises:
            BodyError: where it is too large, does not come in time, or made room for others.
        """
        if request.content.is_eof():  # of what comes with its head there is nothing to wait for
            body = request.content.read_nowait()
        else:
            body = await self._wait_for(request)
        if len(body) > MAX_BRACKETS and body.count(b"{") + body.count(b"[") > MAX_BRACKETS:
            raise BodyError(413, f"must have at most {MAX_BRACKETS} objects and arrays")
        return body

    async def _wait_for(self, request: web.BaseRequest) -> bytes:
        body = bytearray()
        timeout = asyncio.timeout(_SECONDS)
        try:
            async with timeout:
                self._under_way[timeout] = 0
                async for part in request.content.iter_any():
                    body += part
                    if len(body) > MAX_BODY_BYTES:
                        raise BodyError(413, f"must be at most {MAX_BODY_BYTES} bytes")
                    self._make_room(timeout, len(body))
        except TimeoutError:
            raise BodyError(408, "did not come in time") from None
        finally:
            self._under_way.pop(timeout, None)
        return bytes(body)

    def _make_room(self, timeout: asyncio.Timeout, came: int) -> None:
        if timeout in self._under_way:  # else it is given up already
            self._under_way[timeout] = came
        while sum(self._under_way.values()) > _MAX_BYTES_UNDER_WAY:
            oldest = next(iter(self._under_way))
            del self._under_way[oldest]
            oldest.reschedule(0)
