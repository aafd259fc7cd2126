"""``tcpSocket`` probes, ports by name, and hosts in every spelling."""

from collections.abc import Iterator
from typing import Any

from tests.differential.case import Case, Reply, http_get

HOSTS = [
    *(
        "127.0.0.1 127.1 127.0.1 0x7f.1".split()
        + "0x7f000001 2130706433 0177.0.0.1 127.0.0.01 127.000.0.1".split()
    ),
    *(
        "::1 [::1] ::ffff:127.0.0.1 0:0:0:0:0:0:0:1".split()
        + "::1%lo 127.0.0.1. 127.0.0.256 127.0.0 1.2.3".split()
    ),
    *(
        "localhost LOCALHOST localhost. nowhere.invalid a..b -a".split()
        + "a_b 127.0.0.1:80 :80 0 00 0.0.0.0".split()
    ),
    "127.0.0.1 ",
    " 127.0.0.1",
    "\u0661\u0662\u0667.0.0.1",
    "m\u00fcnchen.invalid",
    "a" * 64 + ".invalid",
    "a." * 130 + "invalid",
]
PORTS: list[Any] = [
    "app",
    "other",
    "1",
    "0",
    "65535",
    "65536",
    "-1",
    "+1",
    "01",
    "",
    "0x1",
    "a-b",
    1,
]


def cases() -> Iterator[Case]:
    """All of them; nothing is read, and the app closes."""
    for host in HOSTS:
        yield _case(f"host {host!r}", {"tcpSocket": {"port": "app", "host": host}})
        yield _case(f"httpGet host {host!r}", http_get(host=host))
    for port in PORTS:
        yield _case(f"port {port!r}", {"tcpSocket": {"port": port}})
        yield _case(f"httpGet port {port!r}", {"httpGet": {"port": port, "path": "/"}})
    for address in ("127.0.0.1", "::1"):
        yield _case(f"plain {address}", {"tcpSocket": {"port": "app"}}, address)


def _case(name: str, handler: dict[str, Any], address: str = "127.0.0.1") -> Case:
    script = (Reply((b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",)),)
    return Case("tcp", name, script, handler, address=address)
