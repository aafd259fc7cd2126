"""The kubelet's HTTP probe: ``pkg/probe/http/http.go`` on Go's ``net/http`` client.

A connection for each request, no proxy, redirects by the kubelet's rule, and of an answer's body
10 KiB at most: the rest is not read. The time limit is one for everything.
"""

import asyncio
import contextlib

from osm_healthcheck.kubelet.address import (
    USER_AGENT,
    LookupFailedError,
    PodAddress,
    connect,
    dial_error,
)
from osm_healthcheck.kubelet.verdict import Result, Verdict
from osm_healthcheck.probes.probe import HTTPGetAction
from osm_healthcheck.probes.redirect import Hop, RedirectError, location_of, next_hop
from osm_healthcheck.probes.request import probe_headers, request_headers
from osm_healthcheck.probes.url import URL, URLError, probe_url
from osm_healthcheck.wire.errors import (
    BadAnswerError,
    BrokenOffError,
    DialError,
    MalformedError,
)
from osm_healthcheck.wire.http import ask_on, skip_body
from osm_healthcheck.wire.response import PROBED_BODY_BYTES, Response


class _RefusedRequestError(Exception):
    """Go's client returned an error instead of an answer; its words without the URL."""


async def get(action: HTTPGetAction, port: int, time_limit: float, pod: PodAddress) -> Verdict:
    """Ask for ``action`` once and judge the answer; ``time_limit`` in seconds."""
    try:
        url = probe_url(action.scheme, action.host or pod.ip, port, action.path)
    except URLError as error:
        return Verdict(Result.UNKNOWN, error=str(error))
    headers = probe_headers(action.http_headers)
    first = Hop(url, headers.host, request_headers(action.http_headers, USER_AGENT))
    exchange = _Exchange(first, pod)
    try:
        async with asyncio.timeout(time_limit):
            if headers.refusal:
                raise _RefusedRequestError(headers.refusal)
            return await exchange.run()
    except TimeoutError:
        if exchange.has_answer:
            return Verdict(
                Result.FAILURE,
                error="context deadline exceeded "
                "(Client.Timeout or context cancellation while reading body)",
            )
        reason = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
    except RedirectError as error:
        return Verdict(Result.FAILURE, str(error))
    except BrokenOffError as error:
        return Verdict(Result.FAILURE, error=str(error))
    except _RefusedRequestError as error:
        reason = str(error)
    return Verdict(Result.FAILURE, f"Get {exchange.url.quoted}: {reason}")


class _Exchange:
    """The requests of one probe, one after another while redirects are followed."""

    def __init__(self, first: Hop, pod: PodAddress) -> None:
        self._hops = [first]
        self._pod = pod
        self.has_answer = False

    @property
    def url(self) -> URL:
        return self._hops[-1].url

    async def run(self) -> Verdict:
        """Come to a verdict.

        Raises:
            _RefusedRequestError: where there is no answer.
            RedirectError: where a redirect fails the probe.
            BrokenOffError: where an answer's body ends before it is whole.
        """
        while True:
            response = await self._ask(self._hops[-1])
            try:
                location = location_of(response.status, response.headers)
                following = next_hop(response.status, location, self._hops) if location else None
                if following is None:
                    self.has_answer = True
                    return _judge(response.status, await _read_body(response))
                self._hops.append(following)
                await skip_body(response)
            finally:
                response.close()

    async def _ask(self, hop: Hop) -> Response:
        if not hop.url.host:
            raise _RefusedRequestError("http: no Host in request URL")
        try:
            stream = await connect(_host_name(hop.url), hop.url.port, self._pod)
            return await ask_on(stream, "GET", hop, self._pod.network)
        except (DialError, LookupFailedError) as error:
            raise _RefusedRequestError(dial_error(error)) from None
        except MalformedError as error:
            raise _RefusedRequestError(
                f"net/http: HTTP/1.x transport connection broken: {error}"
            ) from None
        except BadAnswerError as error:
            raise _RefusedRequestError(str(error)) from None


def _host_name(url: URL) -> str:
    """The name to look up: in ASCII where it can be (``idnaASCIIFromURL`` of ``net/http``)."""
    name = url.hostname.encode("latin-1").decode("utf-8", "replace")
    if name.isascii():
        return name
    with contextlib.suppress(UnicodeError):
        return name.encode("idna").decode("ascii")
    return name


async def _read_body(response: Response) -> bytes:
    body = b""
    while len(body) < PROBED_BODY_BYTES and (piece := await response.read()):
        body += piece
    return body[:PROBED_BODY_BYTES]


def _judge(status: int, body: bytes) -> Verdict:
    if 200 <= status < 300:
        return Verdict(Result.SUCCESS, body.decode("utf-8", "replace"))
    if 300 <= status < 400:
        text = body.decode("utf-8", "replace")
        return Verdict(Result.WARNING, f"Probe terminated redirects, Response body: {text}")
    return Verdict(Result.FAILURE, f"HTTP probe failed with statuscode: {status}")
