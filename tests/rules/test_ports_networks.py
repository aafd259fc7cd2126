"""What is a port, which are ours, and who may ask."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from osm_healthcheck.probes.addresses import AllowFrom, is_loopback, unmapped
from osm_healthcheck.probes.constants import ProbeKind
from osm_healthcheck.probes.ports import OwnPorts, is_port, parse_port


@given(st.integers(1, 65535))
def test_every_port_is_read(port: int) -> None:
    assert parse_port(str(port)) == port
    assert is_port(port)


@pytest.mark.parametrize(
    "text",
    [
        *("", "0", "65536", "99999", "100000", "-1", "+80", "080", " 80", "80 ", "80\n", "8_0"),
        *("http", "0x50", "8e1", "80.0", "٨٠", "²", "\uff18\uff10", "9" * 5000),
    ],
)
def test_what_is_no_port(text: str) -> None:
    assert parse_port(text) is None


@given(st.text(max_size=6))
def test_a_port_is_its_own_digits(text: str) -> None:
    port = parse_port(text)
    assert port is None or str(port) == text


@pytest.mark.parametrize("value", [0, 65536, -1, True, False, 80.0, "80", None])
def test_is_port_is_for_whole_numbers(value: object) -> None:
    assert not is_port(value)


def test_our_own_ports() -> None:
    own = OwnPorts()
    assert [own.of(kind) for kind in ProbeKind] == [15901, 15902, 15903]
    assert all(port in own for port in (15901, 15902, 15903, 15904))
    assert 15900 not in own
    moved = OwnPorts(healthcheck=1, liveness=2, readiness=3, startup=4)
    assert [moved.of(kind) for kind in ProbeKind] == [2, 3, 4]
    assert 1 in moved
    assert 15904 not in moved


# -- who may ask


@pytest.mark.parametrize(
    ("networks", "address", "permitted"),
    [
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("10.0.0.0/8", "::ffff:10.1.2.3", True),
        ("10.0.0.0/8", "::ffff:11.1.2.3", False),
        ("10.0.0.0/8", "fd00::1", False),
        ("::ffff:10.9.0.1/128", "10.9.0.1", True),
        ("::ffff:10.9.0.1/128", "10.9.0.2", False),
        ("::ffff:10.9.0.0/112", "::ffff:10.9.3.4", True),
        ("::ffff:0:0/96", "198.51.100.1", True),
        ("::ffff:0:0/96", "fd00::1", False),
        ("fd00::/8", "fd00::1", True),
        ("fe80::/10", "fe80::1%eth0", True),
        ("::/0", "10.0.0.1", False),
        ("192.0.2.7", "192.0.2.7", True),
        ("192.0.2.7", "192.0.2.8", False),
        ("10.0.0.0/8, fd00::/8", "fd00::1", True),
        ("192.0.2.0/24", "127.0.0.1", True),
        ("192.0.2.0/24", "127.8.9.10", True),
        ("192.0.2.0/24", "::ffff:127.0.0.1", True),
        ("192.0.2.0/24", "::1", True),
        ("192.0.2.0/24", "128.0.0.1", False),
    ],
)
def test_permits(networks: str, address: str, permitted: bool) -> None:
    assert AllowFrom.parse(networks).permits(address) is permitted


@pytest.mark.parametrize("text", ["", ",", "10.0.0.1/8", "10.0.0.0/33", "localhost", "10.0.0.0/8,"])
def test_what_is_no_network(text: str) -> None:
    with pytest.raises(ValueError, match="write networks such as"):
        AllowFrom.parse(text)


@given(st.ip_addresses(v=4))
def test_a_mapped_address_counts_as_ipv4(address: ipaddress.IPv4Address) -> None:
    assert unmapped(f"::ffff:{address}") == str(address)
    assert unmapped(str(address)) == str(address)
    assert is_loopback(str(address)) is address.is_loopback


@given(st.ip_addresses(v=6))
def test_ipv6_loopback_is_one_address(address: ipaddress.IPv6Address) -> None:
    assert is_loopback(str(address)) is address.is_loopback
