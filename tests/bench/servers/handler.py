"""A bare aiohttp handler: the low-level ``web.Server`` with no router and no access log."""

import asyncio
import sys

import uvloop
from aiohttp import web

from tests.bench.servers.dial import HEADER, HOST, accepts


async def check(request: web.BaseRequest) -> web.Response:
    return web.Response(status=200 if accepts(int(request.headers[HEADER])) else 404)


async def serve(port: int) -> None:
    handler = web.Server(check, access_log=None)
    server = await asyncio.get_running_loop().create_server(handler, HOST, port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
