"""Node mode in place of a sidecar, for the sidecar's own tests: the pod is where the test is."""

import asyncio
import contextlib
import json
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import uvloop

from osm_healthcheck.errors import FieldError, InvalidInputError
from osm_healthcheck.node.serve import AgentSettings, serve
from osm_healthcheck.server.shutdown import Shutdown
from tests.io.sidecar import Probes, Sidecar, capture
from tests.io.wire import TIMEOUT, own_address

from .container_runtime import fake_runtime
from .namespaces import Namespace
from .node_programs import sockets_process

_NOT_SERVED = "pod not served, its probes fail"


@contextlib.contextmanager
def node_mode(
    probes: Probes,
    *arguments: str,
    environ: Mapping[str, str] | None = None,
    address: str = "",
    is_split: bool = False,
) -> Iterator[Sidecar]:
    """Run an agent, in a thread, that serves one pod; what `tests.io.sidecar.sidecar` does.

    Where it ``is_split``, another process makes its sockets.

    Raises:
        InvalidInputError: where the pod cannot be served, with the agent's reason.
    """
    assert not arguments
    assert not environ
    lines: list[dict[str, Any]] = []
    started = threading.Event()
    stop: list[Any] = []
    pod = Namespace("here", "127.0.0.1", "")
    address = address or own_address()

    async def run(path: Path, sockets: Path | None) -> None:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        shutdown: asyncio.Future[Shutdown] = loop.create_future()
        stop.append(lambda: loop.call_soon_threadsafe(shutdown.set_result, Shutdown.FINISH))
        settings = AgentSettings(runtime=str(path), sockets=sockets, status=(address, 9092))
        task = loop.create_task(serve(settings, capture(lines), shutdown, ready))
        await ready.wait()
        started.set()
        await task

    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        runtime = stack.enter_context(fake_runtime(Path(folder, "cri.sock")))
        runtime.add("pod", pod, json.dumps(probes), namespace_path="/proc/thread-self/ns/net")
        sockets = Path(folder, "sockets.sock") if is_split else None
        if sockets is not None:
            stack.enter_context(sockets_process(runtime, sockets, "--server-user", "0"))
        thread = threading.Thread(
            target=lambda: uvloop.run(run(runtime.path, sockets)), daemon=True
        )
        thread.start()
        try:
            assert started.wait(TIMEOUT)
            if refused := [line for line in lines if line["message"] == _NOT_SERVED]:
                raise InvalidInputError([FieldError("pod", str(refused[0]["reason"]))])
            yield Sidecar(address, lines)
        finally:
            stop[0]()
            thread.join(TIMEOUT)
            assert not thread.is_alive(), "the agent did not end"
