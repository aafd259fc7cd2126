"""Declared probes: JSON and the short form, and every error by its key."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from osm_healthcheck.errors import InvalidInputError
from osm_healthcheck.probes.constants import ProbeKind
from osm_healthcheck.probes.declaration import read_declaration, read_short_form
from osm_healthcheck.probes.ports import OwnPorts
from osm_healthcheck.probes.probe import GRPCAction, Handler, HTTPGetAction, TCPSocketAction
from osm_healthcheck.probes.targets import DeclaredProbe

OWN = OwnPorts()
TCP = {"tcpSocket": {"port": 80}}


def read(document: Any) -> tuple[DeclaredProbe, ...]:
    text = document if isinstance(document, str) else json.dumps(document)
    return read_declaration(text, "--probes", OWN)


def errors_in(document: Any) -> dict[str, str]:
    with pytest.raises(InvalidInputError) as caught:
        read(document)
    return {error.where: error.problem for error in caught.value.errors}


def test_every_probe_of_every_container() -> None:
    document = {
        "web": {
            "startupProbe": {"grpc": {"port": 1}},
            "livenessProbe": {"httpGet": {"port": 2, "path": "/x"}, "timeoutSeconds": 7},
        },
        "db": {"readinessProbe": TCP},
        "none": {},
    }
    found = read(document)
    assert [str(declared) for declared in found] == [
        "web/liveness",
        "web/startup",
        "db/readiness",
    ]
    assert found[0].probe.timeout_seconds == 7
    assert found[0].probe.handler == HTTPGetAction(2, "/x")


def test_nothing_declares_nothing() -> None:
    assert read("{}") == read(' {"app": {}} ') == ()


@pytest.mark.parametrize("text", ["", " \n"])
def test_empty(text: str) -> None:
    assert errors_in(text) == {"--probes": "it is empty; {} declares no probe"}


@pytest.mark.parametrize("text", ["{", "nope", '{"a": }', "{}{}", "[" * 100_000, "\x00", "\ud800"])
def test_what_is_not_json(text: str) -> None:
    (problem,) = errors_in(text).values()
    assert problem.startswith("it is not JSON: ")


def test_half_a_character_is_none() -> None:
    text = r'{"app": {"livenessProbe": {"httpGet": {"port": 80, "path": "/\ud800"}}}}'
    (problem,) = errors_in(text).values()
    assert problem.startswith("a text in it holds half a character")


@pytest.mark.parametrize("text", ["[]", "1", "null", '"x"', "NaN"])
def test_what_is_no_mapping(text: str) -> None:
    assert errors_in(text) == {"--probes": "must be a mapping from container names to probes"}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('{"app": {}, "app": {}}', "app"),
        ('{"app": {"livenessProbe": {}, "livenessProbe": {}}}', "livenessProbe"),
        ('{"app": {"livenessProbe": {"tcpSocket": {"port": 1, "port": 2}}}}', "port"),
    ],
)
def test_a_key_that_stands_there_twice(text: str, key: str) -> None:
    assert errors_in(text) == {"--probes": f'the key "{key}" stands there twice'}


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a-", "a.b", "a" * 64, "a/b", "é", "a\n"])
def test_what_is_no_container_name(name: str) -> None:
    (where,) = errors_in({name: {}})
    assert where == f"--probes: {name}"


@pytest.mark.parametrize("name", ["a", "0", "a-b", "a" * 63])
def test_what_is_one(name: str) -> None:
    assert read({name: {"livenessProbe": TCP}})[0].container == name


@pytest.mark.parametrize(
    ("probes", "where", "words"),
    [
        (1, "", "must be a mapping"),
        ({"liveness": TCP}, ".liveness", "unknown field; known are lifecycle, livenessProbe"),
        ({"livenessProbe": None}, ".livenessProbe", "Required value"),
        ({"livenessProbe": []}, ".livenessProbe", "must be a mapping"),
        ({"livenessProbe": {}}, ".livenessProbe", "must specify a handler type"),
        (
            {"livenessProbe": {"exec": {"command": ["x"]}}},
            ".livenessProbe.exec",
            "the kubelet runs it inside the container",
        ),
        (
            {"startupProbe": {"tcpSocket": {"port": "web"}}},
            ".startupProbe.tcpSocket.port",
            'Invalid value: "web": must be a number (inject resolves names)',
        ),
        (
            {"startupProbe": {"httpGet": {"port": 15901}}},
            ".startupProbe.httpGet.port",
            "is one of the sidecar's own ports",
        ),
        (
            {"startupProbe": {"grpc": {"port": 15904}}},
            ".startupProbe.grpc.port",
            "is one of the sidecar's own ports",
        ),
        (
            {"startupProbe": {"httpGet": {"port": 80, "host": "h"}}},
            ".startupProbe.httpGet.host",
            "leave it to the kubelet",
        ),
        (
            {"startupProbe": {"tcpSocket": {"port": 80, "host": "127.0.0.1"}}},
            ".startupProbe.tcpSocket.host",
            "leave it to the kubelet",
        ),
    ],
    ids=str,
)
def test_errors(probes: Any, where: str, words: str) -> None:
    (found,) = errors_in({"app": probes}).items()
    assert found[0] == f"--probes: app{where}"
    assert words in found[1]


def test_all_errors_at_once() -> None:
    document = {
        "A": {"livenessProbe": TCP},
        "b": {"livenessProbe": {"tcpSocket": {"port": 0}}, "x": 1},
        "c": 1,
    }
    assert len(errors_in(document)) == 4


def test_own_ports_are_the_ones_that_are_set() -> None:
    document = json.dumps({"app": {"livenessProbe": {"tcpSocket": {"port": 15904}}}})
    moved = OwnPorts(healthcheck=80)
    assert read_declaration(document, "--probes", moved)
    with pytest.raises(InvalidInputError, match="the sidecar's own"):
        read_declaration(document.replace("15904", "80"), "--probes", moved)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["app", "livenessProbe", "httpGet", "port"]), inner)
        ),
    )
)
def test_any_json_is_probes_or_errors(document: Any) -> None:
    try:
        read(document)
    except InvalidInputError as error:
        assert all(one.where.startswith("--probes") for one in error.errors)  # noqa: PT017


@given(st.text(max_size=30))
def test_any_text_is_probes_or_errors(text: str) -> None:
    try:
        read(text)
    except InvalidInputError as error:
        assert error.errors  # noqa: PT017


# -- the short form


@pytest.mark.parametrize(
    ("text", "handler"),
    [
        ("http://:14001/liveness", HTTPGetAction(14001, "/liveness")),
        ("http://:14001", HTTPGetAction(14001, "/")),
        ("http://:1?a=b", HTTPGetAction(1, "?a=b")),
        ("http://:1/a?b:c#d", HTTPGetAction(1, "/a?b:c#d")),
        ("https://:8443/healthz", HTTPGetAction(8443, "/healthz", "HTTPS")),
        ("tcp://:5432", TCPSocketAction(5432)),
        ("tcp://:5432/", TCPSocketAction(5432)),
        ("grpc://:50051/my.Service", GRPCAction(50051, "my.Service")),
        ("grpc://:50051/", GRPCAction(50051)),
        ("grpc://:50051", GRPCAction(50051)),
    ],
)
def test_short_form(text: str, handler: Handler) -> None:
    found = read_short_form(text, "--liveness", ProbeKind.LIVENESS, OWN)
    assert (found.container, found.kind) == ("app", ProbeKind.LIVENESS)
    assert found.probe.handler == handler


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not a probe"),
        ("14001", "is not a probe"),
        (":14001/x", "is not a probe"),
        ("http://", "is not a probe"),
        ("http:///x", "is not a probe"),
        ("HTTP://:1/", "is not a probe"),
        ("ftp://:21/", "is not a probe"),
        ("exec://:1/", "is not a probe"),
        ("tcp://:1/x", "is not a probe"),
        ("grpc://:1/a/b", "is not a probe"),
        ("grpc://:1/a?b", "is not a probe"),
        ("http://localhost:1/", "names a host"),
        ("http://[::1]:1/", "names a host"),
        ("tcp://0.0.0.0:1", "names a host"),
        ("http://:0/", "has no port from 1 to 65535"),
        ("http://:65536/", "has no port from 1 to 65535"),
        ("http://:080/", "has no port from 1 to 65535"),
        ("tcp://:15904", "is aimed at port 15904"),
    ],
)
def test_what_is_no_short_form(text: str, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words) as caught:
        read_short_form(text, "--liveness", ProbeKind.LIVENESS, OWN)
    assert [error.where for error in caught.value.errors] == ["--liveness"]


@pytest.mark.parametrize("text", ["http://:1x", "tcp://:1:2"])
def test_a_port_ends_where_its_digits_end(text: str) -> None:
    with pytest.raises(InvalidInputError):
        read_short_form(text, "--liveness", ProbeKind.LIVENESS, OWN)
