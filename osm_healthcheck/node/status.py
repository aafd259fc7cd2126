"""HTTP on the agent pod's own address: ``/healthz``, ``/health/ready``, ``/metrics`` and more.

``/debug/pods`` has addresses and what is wrong with annotations, and is for callers of loopback.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from aiohttp import web

from osm_healthcheck import __version__
from osm_healthcheck.probes.addresses import is_loopback, unmapped
from osm_healthcheck.server.listen import bind_all
from osm_healthcheck.server.listener import Listener
from osm_healthcheck.server.settings import ANY_ADDRESS

if TYPE_CHECKING:
    from osm_healthcheck.node.agent import NodeAgent

_TEXT = "text/plain; charset=utf-8"


class StatusServer:
    """Tells what ``agent`` serves; ``ready`` is set while it serves what the runtime lists."""

    def __init__(self, agent: "NodeAgent") -> None:
        self._agent = agent
        self.ready = asyncio.Event()

    @contextlib.asynccontextmanager
    async def listening(self, address: str, port: int) -> AsyncIterator[None]:
        """Listen at an address.

        Raises:
            ListenError: where it cannot be had.
        """
        bound = bind_all(
            [address] if address else ANY_ADDRESS,
            {"status": port},
            optional_ipv6=not address,
            options={"status": "--status"},
        )
        listener = Listener(bound["status"], self._answer)
        try:
            yield
        finally:
            await listener.close(1.0)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method not in ("GET", "HEAD"):
            return web.Response(status=405, headers={"Allow": "GET, HEAD"})
        match request.path:
            case "/healthz" | "/health/alive":
                return web.Response(text="the agent is serving\n")
            case "/health/ready":
                if not self.ready.is_set():
                    return web.Response(status=503, text="the agent does not serve yet\n")
                if not self._agent.is_available:
                    return web.Response(status=503, text="the node's pods are not known\n")
                return web.Response(text="the agent serves what the container runtime lists\n")
            case "/metrics":
                from osm_healthcheck.node import metrics

                body = metrics.render(self._agent)
                return web.Response(body=body, headers={"Content-Type": metrics.CONTENT_TYPE})
            case "/debug/pods":
                if not is_loopback(unmapped(request.remote or "")):
                    return web.Response(status=403, text="only from this pod, or port-forwarded\n")
                return web.json_response(self._pods())
        return web.Response(
            status=404, text="there are /healthz, /health/ready, /metrics and /debug/pods\n"
        )

    def _pods(self) -> dict[str, object]:
        now = asyncio.get_running_loop().time()
        served = [
            {
                "namespace": one.pod.namespace,
                "name": one.pod.name,
                "addresses": list(one.pod.addresses),
                "networkNamespace": one.pod.path,
                "listening": {
                    name: [":".join(map(str, sock.getsockname()[:2])) for sock in sockets]
                    for name, sockets in one.server.listening.items()
                },
                "connections": len(one.server.limiter),
                "secondsServed": round(now - one.since, 3),
            }
            for one in self._agent.served.values()
        ]
        refused = [
            {"sandbox": identity, "reason": one.reason}
            for identity, one in self._agent.refused.items()
        ]
        return {"version": __version__, "served": served, "notServed": refused}
