"""Probes read from manifests: Kubernetes' defaults, rules and words."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from osm_healthcheck.errors import FieldError, InvalidInputError
from osm_healthcheck.probes.constants import ProbeKind
from osm_healthcheck.probes.probe import (
    ExecAction,
    FieldReader,
    GRPCAction,
    HTTPGetAction,
    HTTPHeader,
    Probe,
    TCPSocketAction,
    read_probe,
)
from osm_healthcheck.probes.quote import quote, quoted
from tests.io import vectors

API = vectors.kubelet("api")
# said of fields of a pod, which is not what is read here
NOT_A_PROBE = {"api-16": "probes of ephemeral containers are forbidden where a pod is read"}


def read(
    probe: dict[str, Any], kind: ProbeKind = ProbeKind.LIVENESS
) -> tuple[Probe | None, list[FieldError]]:
    reader = FieldReader(probe, f"app.{kind.field}")
    return read_probe(reader, kind), reader.validation.errors


def errors_in(probe: dict[str, Any], kind: ProbeKind = ProbeKind.LIVENESS) -> list[str]:
    return [str(error) for error in read(probe, kind)[1]]


@pytest.mark.parametrize("name", sorted(API.keys() - NOT_A_PROBE.keys()))
def test_the_api_servers_rules(name: str) -> None:
    ((field, probe),) = API[name]["given"].items()
    kind = ProbeKind(field.removesuffix("Probe"))
    if not {"httpGet", "tcpSocket", "grpc", "exec"} & probe.keys() and name != "api-08":
        probe = {**probe, "tcpSocket": {"port": 80}}
    expect = API[name]["expect"]
    found, errors = read(probe, kind)
    if "defaulted" in expect:
        assert errors == []
        assert found is not None
        check_defaults(found, expect["defaulted"])
    else:
        where, _, problem = expect["rejectedWith"].partition(": ")
        assert [error.where for error in errors] == [where.replace("spec.containers[0]", "app")]
        assert errors[0].problem.startswith(" ".join(problem.removesuffix("...").split()))


def check_defaults(probe: Probe, expected: dict[str, Any]) -> None:
    names = {
        "initialDelaySeconds": probe.initial_delay_seconds,
        "timeoutSeconds": probe.timeout_seconds,
        "periodSeconds": probe.period_seconds,
        "successThreshold": probe.success_threshold,
        "failureThreshold": probe.failure_threshold,
    }
    for name, value in expected.items():
        if name == "httpGet":
            assert isinstance(probe.handler, HTTPGetAction)
            assert (probe.handler.path, probe.handler.scheme) == (value["path"], value["scheme"])
        else:
            assert names[name] == value


def test_every_api_vector_is_read_or_has_a_reason() -> None:
    assert set(NOT_A_PROBE) < set(API)


@pytest.mark.parametrize(
    ("probe", "handler"),
    [
        ({"httpGet": {"port": 80}}, HTTPGetAction(80)),
        ({"httpGet": {"port": "web", "path": ""}}, HTTPGetAction("web")),
        (
            {"httpGet": {"port": 1, "path": "x", "scheme": "HTTPS", "host": "h"}},
            HTTPGetAction(1, "x", "HTTPS", "h"),
        ),
        (
            {"httpGet": {"port": 1, "httpHeaders": [{"name": "A", "value": ""}, {"name": "B"}]}},
            HTTPGetAction(1, http_headers=(HTTPHeader("A", ""), HTTPHeader("B", ""))),
        ),
        ({"httpGet": {"port": 1, "httpHeaders": None, "path": None}}, HTTPGetAction(1)),
        ({"tcpSocket": {"port": 65535}}, TCPSocketAction(65535)),
        ({"tcpSocket": {"port": "db", "host": "h"}}, TCPSocketAction("db", "h")),
        ({"tcpSocket": {"port": "of-15-character"}}, TCPSocketAction("of-15-character")),
        ({"grpc": {"port": 1}}, GRPCAction(1)),
        ({"grpc": {"port": 1, "service": "s"}}, GRPCAction(1, "s")),
        ({"exec": {"command": ["a", "b"]}}, ExecAction(("a", "b"))),
        ({"httpGet": None, "tcpSocket": {"port": 2}}, TCPSocketAction(2)),
    ],
)
def test_handlers(probe: dict[str, Any], handler: Any) -> None:
    found, errors = read(probe)
    assert errors == []
    assert found is not None
    assert found.handler == handler


TCP = {"tcpSocket": {"port": 80}}


@pytest.mark.parametrize(
    ("probe", "where"),
    [
        ({}, ""),
        ({"tcpSocket": 80}, ".tcpSocket"),
        ({"tcpSocket": {}}, ".tcpSocket.port"),
        ({"tcpSocket": {"port": 80, "prot": 1}}, ".tcpSocket.prot"),
        ({"tcpSocket": {"port": True}}, ".tcpSocket.port"),
        ({"tcpSocket": {"port": 80.5}}, ".tcpSocket.port"),
        ({"tcpSocket": {"port": "A"}}, ".tcpSocket.port"),
        ({"tcpSocket": {"port": "a-very-long-name"}}, ".tcpSocket.port"),
        ({"tcpSocket": {"port": "a--b"}}, ".tcpSocket.port"),
        ({"tcpSocket": {"port": "-a"}}, ".tcpSocket.port"),
        ({"tcpSocket": {"port": "80\n"}}, ".tcpSocket.port"),
        ({"tcpSocket": {"port": 80, "host": 1}}, ".tcpSocket.host"),
        ({"grpc": {"port": "web"}}, ".grpc.port"),
        ({"grpc": {"port": 80, "service": 1}}, ".grpc.service"),
        ({"exec": {}}, ".exec.command"),
        ({"exec": {"command": "ls"}}, ".exec.command"),
        ({"httpGet": {"port": 80, "path": 1}}, ".httpGet.path"),
        ({"httpGet": {"port": 80, "scheme": "http"}}, ".httpGet.scheme"),
        ({"httpGet": {"port": 80, "httpHeaders": {}}}, ".httpGet.httpHeaders"),
        ({"httpGet": {"port": 80, "httpHeaders": ["a"]}}, ".httpGet.httpHeaders[0]"),
        ({"httpGet": {"port": 80, "httpHeaders": [{"name": "a b"}]}}, ".httpGet.httpHeaders"),
        ({"httpGet": {"port": 80, "httpHeaders": [{}]}}, ".httpGet.httpHeaders"),
        (
            {"httpGet": {"port": 80, "httpHeaders": [{"name": "a", "valeu": "b"}]}},
            ".httpGet.httpHeaders[0].valeu",
        ),
        ({**TCP, "timeoutSecond": 1}, ".timeoutSecond"),
        ({**TCP, "timeoutSeconds": "1"}, ".timeoutSeconds"),
        ({**TCP, "timeoutSeconds": -1}, ".timeoutSeconds"),
        ({**TCP, "timeoutSeconds": 2**31}, ".timeoutSeconds"),
        ({**TCP, "timeoutSeconds": True}, ".timeoutSeconds"),
        ({**TCP, "periodSeconds": 1.5}, ".periodSeconds"),
        ({**TCP, "successThreshold": 2}, ".successThreshold"),
        ({**TCP, "terminationGracePeriodSeconds": "1"}, ".terminationGracePeriodSeconds"),
    ],
    ids=str,
)
def test_errors_name_their_field(probe: dict[str, Any], where: str) -> None:
    found = [error.where for error in read(probe)[1]]
    assert found == [f"app.livenessProbe{where}"]


def test_a_probe_of_nothing_but_a_handler_has_the_api_servers_defaults() -> None:
    assert read({"tcpSocket": {"port": 80}})[0] == Probe(TCPSocketAction(80))


def test_all_errors_at_once() -> None:
    probe = {
        "httpGet": {"port": 0, "scheme": "ftp", "paht": "/"},
        "grpc": {"port": 1},
        "timeoutSeconds": -1,
        "failureThreshold": "x",
    }
    assert len(errors_in(probe)) == 6


def test_readiness_may_want_more_than_one_success() -> None:
    probe, errors = read({**TCP, "successThreshold": 3}, ProbeKind.READINESS)
    assert errors == []
    assert probe is not None
    assert probe.success_threshold == 3


@pytest.mark.parametrize(
    ("value", "text"),
    [("a", '"a"'), ('a"\\\n', '"a\\"\\\\\\n"'), (None, "null"), (True, "true"), (1, "1")],
)
def test_quoted(value: object, text: str) -> None:
    assert quoted(value) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (b"\x80\xff", r"\x80\xff"),
        (b"\x00\x1f\x7f", r"\x00\x1f\x7f"),
        ("\x80\xa0\u2028".encode(), r"\u0080\u00a0\u2028"),
        ("\uffff\U00010000\U0010ffff".encode(), "\\uffff\U00010000\\U0010ffff"),
    ],
)
def test_a_text_is_quoted_as_go_does(text: bytes, shown: str) -> None:
    """``strconv.Quote``, which ``%q`` is."""
    assert quote(text) == f'"{shown}"'


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 70000) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "value", "port", "path", "httpHeaders", "command"]), inner
        )
    ),
    max_leaves=6,
)
PROBES = st.dictionaries(
    st.sampled_from(
        ["httpGet", "tcpSocket", "grpc", "exec", "timeoutSeconds", "successThreshold", "x"]
    ),
    VALUES,
)


@given(PROBES, st.sampled_from(ProbeKind))
def test_no_probe_is_too_odd_to_be_read(probe: dict[str, Any], kind: ProbeKind) -> None:
    """It is a probe, or there is an error; each error has a place and a text."""
    found, errors = read(probe, kind)
    assert found is not None or errors
    for error in errors:
        assert error.where.startswith(f"app.{kind.field}")
        assert str(error) in str(InvalidInputError(errors))
