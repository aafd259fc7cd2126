"""How a process that serves is told to end: by signals."""

import asyncio
import os
import signal
from enum import Enum


class Shutdown(Enum):
    """How to end."""

    DRAIN = "answer as long as the app does, then end"
    FINISH = "finish what is in flight, then end"


def on_signals(loop: asyncio.AbstractEventLoop) -> "asyncio.Future[Shutdown]":
    """The first SIGTERM or SIGINT, as an awaitable. The second ends the process where it is.

    Handlers are installed here because PID 1 of a container has none by default.
    """
    told: asyncio.Future[Shutdown] = loop.create_future()

    def handle(number: signal.Signals, how: Shutdown) -> None:
        if told.done():
            os._exit(128 + number)
        told.set_result(how)

    loop.add_signal_handler(signal.SIGTERM, handle, signal.SIGTERM, Shutdown.DRAIN)
    loop.add_signal_handler(signal.SIGINT, handle, signal.SIGINT, Shutdown.FINISH)
    return told
