"""Hosts that a probe brings along: which are addresses, and which are looked up."""

import asyncio

import pytest

from osm_healthcheck.kubelet.address import LookupFailedError, resolve


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
    ],
)
def test_an_address_is_taken_as_go_prints_it(host: str, address: str) -> None:
    assert asyncio.run(resolve(host)) == (address,)


@pytest.mark.parametrize(
    "host", ["127.1", "2130706433", "127.0.0.01", "127.0.0.1.", "[::1]", "a..b", "-a", "a b", ""]
)
def test_what_is_no_name_is_not_looked_up(host: str) -> None:
    with pytest.raises(LookupFailedError, match=r"^lookup .*: no such host$"):
        asyncio.run(resolve(host))


@pytest.mark.parametrize("host", ["0x7f.1", "0x7f000001"])
def test_an_address_for_the_c_library_alone_is_none(host: str) -> None:
    with pytest.raises(LookupFailedError, match="no such host"):
        asyncio.run(resolve(host))
