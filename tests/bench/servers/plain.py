"""A plain server on the sidecar's own three libraries: what start and memory are compared with.

The same check as the sidecar's, in an ordinary aiohttp application on uvloop that logs JSON with
structlog: what somebody would write who counts neither milliseconds nor megabytes.
"""

import sys

import structlog
import uvloop
from aiohttp import web

from tests.bench.servers.dial import HEADER, HOST, accepts


async def check(request: web.Request) -> web.Response:
    return web.Response(status=200 if accepts(int(request.headers[HEADER])) else 404)


def main(port: int) -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    app = web.Application()
    app.router.add_get("/osm-healthcheck", check)
    structlog.get_logger().info("listening", port=port)
    loop = uvloop.new_event_loop()
    web.run_app(app, host=HOST, port=port, access_log=None, print=None, loop=loop)


if __name__ == "__main__":
    main(int(sys.argv[1]))
