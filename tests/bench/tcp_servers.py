"""The servers that answer a TCP check: how each is started, and what it is asked."""

from collections.abc import Callable, Iterable

from tests.bench import go_daemon, load, sidecar
from tests.bench.comparison import Entry
from tests.bench.environment import Environment
from tests.bench.errors import LeftOutError
from tests.bench.process import free_port

FLOOR = "asyncio.Protocol (the floor)"
HANDLER = "aiohttp.web.Server handler"
APPLICATION = "aiohttp.web.Application"
PLAIN = "plain aiohttp + uvloop + structlog"

# Given the environment and the app's port: a server on a port of its own.
Maker = Callable[[Environment, int], Entry]


def makers(environment: Environment, names: Iterable[str]) -> tuple[dict[str, Maker], list[str]]:
    """Return what makes each of these servers, and a remark for each that is left out."""
    found, notes = {}, []
    for name in names:
        if name != go_daemon.NAME:
            found[name] = _MAKERS[name]
            continue
        try:
            path = go_daemon.binary(environment.cache)
        except LeftOutError as error:
            notes.append(str(error))
        else:
            found[name] = _go(str(path))
            notes.append(f"{name}: Open Service Mesh 1.2.4, {go_daemon.built_by(path)}, one core")
    return found, notes


def _sidecar(environment: Environment, app_port: int) -> Entry:
    port = free_port()
    command = sidecar.for_tcp_checks(environment, port, app_port=app_port)
    return Entry(command, load.tcp_check(port, app_port=app_port))


def _sidecar_new_heads(environment: Environment, app_port: int) -> Entry:
    entry = _sidecar(environment, app_port)
    return Entry(entry.command, load.never_the_same(entry.probe))


def _module(name: str) -> Maker:
    def make(environment: Environment, app_port: int) -> Entry:
        port = free_port()
        command = environment.python.command(f"tests.bench.servers.{name}", str(port))
        return Entry(command, load.tcp_check(port, app_port=app_port))

    return make


def _go(path: str) -> Maker:
    def make(_environment: Environment, app_port: int) -> Entry:
        return Entry([path], load.tcp_check(go_daemon.PORT, app_port=app_port))

    return make


_MAKERS: dict[str, Maker] = {
    sidecar.NAME: _sidecar,
    sidecar.NEW_HEADS: _sidecar_new_heads,
    FLOOR: _module("floor"),
    HANDLER: _module("handler"),
    APPLICATION: _module("application"),
    PLAIN: _module("plain"),
}
