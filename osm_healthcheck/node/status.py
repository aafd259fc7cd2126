"""HTTP on the agent pod's own address: ``/healthz``, ``/health/ready``, ``/metrics`` and more.

``/debug/pods`` has addresses and what is wrong with annotations, and is for callers of loopback.
Whoever reads slowly, or never, takes nothing from the pods' probes: see `Page`.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING

from osm_healthcheck import __version__
from osm_healthcheck.probes.addresses import AllowFrom
from osm_healthcheck.server.connection import Connection
from osm_healthcheck.server.connection_limiter import ConnectionLimiter
from osm_healthcheck.server.head_reader import make_server
from osm_healthcheck.server.listen import bind_all
from osm_healthcheck.server.page import LoopbackReply, Page, PageReply
from osm_healthcheck.server.reply import ALLOW, Caller, RememberedHeads, Reply, TextReply
from osm_healthcheck.server.request import Request
from osm_healthcheck.server.settings import ANY_ADDRESS
from osm_healthcheck.server.transport import Acceptor

if TYPE_CHECKING:
    from osm_healthcheck.node.agent import NodeAgent

# The kubelet and a few Prometheis.
MAX_CONNECTIONS = 64


class StatusServer:
    """Tells what ``agent`` serves; ``ready`` is set while it serves what the runtime lists.

    It is the one endpoint of its own connections: see `Endpoint` and `ServerContext`.
    """

    allow_from: AllowFrom | None = None

    def __init__(self, agent: "NodeAgent") -> None:
        self._agent = agent
        self.ready = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        self.log = agent.log
        self.limiter = ConnectionLimiter(self.loop, MAX_CONNECTIONS)
        self.make_reader = make_server()
        self.remembered = RememberedHeads()
        self._metrics = Page(self._render_metrics, self.loop)
        self._pods = Page(self._render_pods, self.loop)

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
        acceptors = [
            Acceptor(one, lambda sock, peer: Connection(self, self, sock, peer).begin(), self.loop)
            for one in bound["status"]
        ]
        try:
            yield
        finally:
            for one in acceptors:
                one.close()
            self.limiter.close_all()

    def take_over(self, connection: Caller, first: bytes) -> bool:
        """See `Endpoint`: there is nothing behind TLS here."""
        return False

    def resolve(self, request: Request) -> Reply:
        """See `Endpoint`."""
        text = partial(TextReply, head_only=request.head_only)
        if request.method not in ("GET", "HEAD"):
            return text(405, "ask with GET or HEAD", ALLOW)
        match request.path:
            case "/healthz" | "/health/alive":
                return text(200, "the agent is serving")
            case "/health/ready":
                if not self.ready.is_set():
                    return text(503, "the agent does not serve yet")
                if not self._agent.is_available:
                    return text(503, "the node's pods are not known")
                return text(200, "the agent serves what the container runtime lists")
            case "/metrics":
                return PageReply(self._metrics, head_only=request.head_only)
            case "/debug/pods":
                pods = PageReply(self._pods, head_only=request.head_only)
                return LoopbackReply(pods, text(403, "only from this pod, or port-forwarded"))
        return text(404, "there are /healthz, /health/ready, /metrics and /debug/pods")

    async def _render_metrics(self) -> tuple[bytes, bytes]:
        from osm_healthcheck.node import metrics
        from osm_healthcheck.server import exposition

        return exposition.HEADERS, await metrics.render(self._agent)

    async def _render_pods(self) -> tuple[bytes, bytes]:
        served = []
        for one in list(self._agent.served.values()):
            shown = {
                "namespace": one.pod.namespace,
                "name": one.pod.name,
                "addresses": list(one.pod.addresses),
                "networkNamespace": one.pod.path,
                "listening": {
                    name: [
                        ":".join(map(str, sock.getsockname()[:2]))
                        for sock in sockets
                        if sock.fileno() >= 0  # the pod may have ended meanwhile
                    ]
                    for name, sockets in one.server.listening.items()
                },
                "connections": len(one.server.limiter),
                "secondsServed": round(self.loop.time() - one.since, 3),
            }
            served.append(json.dumps(shown))
            await asyncio.sleep(0)
        refused = [
            {"pod": one.full_name, "sandbox": identity, "reason": one.reason}
            for identity, one in self._agent.refused.items()
        ]
        page = (
            f'{{"version": {json.dumps(__version__)}, "served": [{", ".join(served)}], '
            f'"notServed": {json.dumps(refused)}}}'
        )
        return b"Content-Type: application/json; charset=utf-8\r\n", page.encode()
