"""Whether others get their turn, told by turns of the event loop and not by time."""

import asyncio


class Turns:
    """Counts the turns of somebody else in the running loop."""

    def __init__(self) -> None:
        self._count = 0
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            self._count += 1
            await asyncio.sleep(0)

    def end(self) -> int:
        """How many there were."""
        self._task.cancel()
        return self._count
