"""How a command runs what is asynchronous in it."""

import asyncio
import signal
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

_Result = TypeVar("_Result")


def run(work: Coroutine[Any, Any, _Result]) -> _Result:
    """``asyncio.run``, where SIGTERM and SIGHUP cancel ``work``, as SIGINT does there.

    That is for signals that have a handler. It would raise in the middle of whatever the event loop
    does, which could not even be closed then. The second of a kind ends the process at once.

    Raises:
        SystemExit: with 128 and the number of the signal, once ``work`` has ended.
    """
    told: list[int] = []
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = {one: signal.getsignal(one) for one in numbers if callable(signal.getsignal(one))}

    async def until_told() -> _Result:
        loop = asyncio.get_running_loop()
        task = loop.create_task(work)

        def end(number: int) -> None:
            loop.remove_signal_handler(number)
            told.append(number)
            task.cancel()

        for number in before:
            loop.add_signal_handler(number, end, number)
        return await task

    try:
        return asyncio.run(until_told())
    except asyncio.CancelledError:
        if not told:
            raise
        sys.exit(128 + told[0])
    finally:
        if not told:
            for number, handler in before.items():
                signal.signal(number, handler)
