"""An ordinary aiohttp application: a route, and a check by ``asyncio.open_connection``."""

import asyncio
import sys

import uvloop
from aiohttp import web

from tests.bench.servers.dial import HEADER, HOST


async def check(request: web.Request) -> web.Response:
    try:
        _, writer = await asyncio.open_connection(HOST, int(request.headers[HEADER]))
    except OSError:
        return web.Response(status=404)
    writer.close()
    return web.Response()


def main(port: int) -> None:
    app = web.Application()
    app.router.add_get("/osm-healthcheck", check)
    loop = uvloop.new_event_loop()
    web.run_app(app, host=HOST, port=port, access_log=None, print=None, loop=loop)


if __name__ == "__main__":
    main(int(sys.argv[1]))
