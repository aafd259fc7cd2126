"""HTTP 9091: whether the injector is alive, and whether it is ready to admit pods.

The paths and texts are those of OSM's control plane (``pkg/health``), which probes and people ask.
"""

import json
import time
from email.utils import formatdate
from functools import lru_cache

from aiohttp import web

from osm_healthcheck import __version__
from osm_healthcheck.injector.metrics import Metrics

_TEXT = "text/plain; charset=utf-8"
_HEAD_ONLY = ("GET", "HEAD")


class Health:
    """What the two probes are answered with.

    ``not_ready`` holds, by what is at fault, why no pods can be admitted; ``failure`` says what has
    ended that only a new process can bring back.
    """

    def __init__(self) -> None:
        self.not_ready: dict[str, str] = {}
        self.failure = ""

    @property
    def reason(self) -> str:
        """Why it is not ready; empty where it is."""
        return "; ".join(filter(None, (self.failure, *self.not_ready.values())))


class HealthEndpoint:
    """Answers requests on 9091."""

    def __init__(self, health: Health, metrics: Metrics) -> None:
        self._health = health
        self._metrics = metrics

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, whatever it is."""
        if request.method not in _HEAD_ONLY:
            return text_response(405, "ask with GET or HEAD", {"Allow": "GET, HEAD"})
        match request.path:
            case "/health/alive" | "/healthz":
                if self._health.failure:
                    return text_response(503, f"Service is not alive: {self._health.failure}")
                return text_response(200, "Service is alive")
            case "/health/ready":
                if reason := self._health.reason:
                    return text_response(503, f"Service is not ready: {reason}")
                return text_response(200, "Service is ready")
            case "/metrics":
                return respond(200, self._metrics.render(), self._metrics.content_type)
            case "/version":
                version = json.dumps({"version": __version__})
                return respond(200, version.encode(), "application/json")
        return text_response(
            404, "no such path: /health/alive, /health/ready, /healthz, /metrics, /version"
        )


def text_response(
    status: int, text: str, headers: dict[str, str] | None = None
) -> web.StreamResponse:
    """A line of text, in UTF-8."""
    return respond(status, text.encode(), _TEXT, headers)


def respond(
    status: int, body: bytes, content_type: str, headers: dict[str, str] | None = None
) -> web.StreamResponse:
    """An answer whose head has the order of Go's servers, as OSM's documentation shows it."""
    return web.Response(
        status=status,
        body=body,
        headers={
            **(headers or {}),
            "Date": _date(int(time.time())),
            "Content-Length": str(len(body)),
            "Content-Type": content_type,
        },
    )


@lru_cache(maxsize=1)  # most answers are of the same second as the one before
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)
