"""A real browser, Chromium without a window, that is asked over its DevTools protocol."""

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import pytest

from tests.io.wire import TIMEOUT

_ANNOUNCED = "DevTools listening on "
_NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str:
    """The path of the browser; skips the test where there is none, as ``.ci/run`` sees to it."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip("needs a browser (Debian's chromium)")
    return found


class Tab:
    """One page of the browser. ``complaints`` is what it wrote to its console."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, session: str) -> None:
        self._socket = socket
        self._session = session
        self._number = 0
        self._loaded = 0
        self.complaints: list[str] = []

    async def call(self, method: str, **parameters: Any) -> Any:
        """Call a method of the protocol; its result."""
        self._number += 1
        number = self._number
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        await self._socket.send_json(message)
        while True:
            answer = await self._receive()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    async def open(self, url: str) -> None:
        """Load a page to its end."""
        before = self._loaded
        await self.call("Page.navigate", url=url)
        while self._loaded == before:
            await self._receive()

    async def value(self, expression: str) -> Any:
        """The value of an expression in the page."""
        found = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"]["value"]

    async def show(self, width: int, *, scheme: str) -> None:
        """Show the page as wide as that (CSS pixels), in a ``light`` or ``dark`` scheme."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=800,
            deviceScaleFactor=1,
            mobile=width < 800,
        )
        feature = {"name": "prefers-color-scheme", "value": scheme}
        await self.call("Emulation.setEmulatedMedia", features=[feature])

    async def _receive(self) -> Any:
        answer = await self._socket.receive_json(timeout=TIMEOUT)
        match answer.get("method"):
            case "Page.loadEventFired":
                self._loaded += 1
            case "Log.entryAdded":
                self.complaints.append(answer["params"]["entry"]["text"])
            case "Runtime.consoleAPICalled" | "Runtime.exceptionThrown":
                self.complaints.append(str(answer["params"]))
        return answer


@contextlib.asynccontextmanager
async def tab() -> AsyncIterator[Tab]:
    """Start a browser with one empty page."""
    with TemporaryDirectory() as folder:
        process = await asyncio.create_subprocess_exec(
            chromium(),
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--no-first-run", "--disable-background-networking"),
            *("--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "HOME": str(Path(folder))},
        )
        try:
            async with asyncio.timeout(3 * TIMEOUT):
                address = await _address(process)
                async with (
                    aiohttp.ClientSession() as client,
                    client.ws_connect(address, max_msg_size=0) as socket,
                ):
                    yield await _attach(socket)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.communicate()


async def _address(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    said = b""
    async for line in process.stderr:
        said += line
        _, found, address = line.decode().strip().partition(_ANNOUNCED)
        if found:
            return address
    raise AssertionError(said.decode(errors="replace"))


async def _attach(socket: aiohttp.ClientWebSocketResponse) -> Tab:
    browser = Tab(socket, "")
    targets = (await browser.call("Target.getTargets"))["targetInfos"]
    page = next(one["targetId"] for one in targets if one["type"] == "page")
    attached = await browser.call("Target.attachToTarget", targetId=page, flatten=True)
    tab = Tab(socket, attached["sessionId"])
    for domain in ("Page", "Log", "Runtime"):
        await tab.call(f"{domain}.enable")
    return tab
