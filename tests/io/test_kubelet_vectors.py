"""The vectors about apps, against real servers that behave as the vector says."""

import asyncio
import re
from typing import Any

import pytest

from osm_healthcheck.kubelet.address import USER_AGENT, PodAddress
from osm_healthcheck.kubelet.pod_spec import ContainerSpec
from osm_healthcheck.kubelet.prober import MAX_ATTEMPTS, Outcome, probe
from osm_healthcheck.kubelet.verdict import Result
from osm_healthcheck.probes.url import probe_url
from tests.io.apps import header_lines
from tests.io.kubelet_servers import Scenario, app_of, serve_vector
from tests.kubelet_vectors import group, vector_id

GROUPS = ("request_target", "headers", "http", "tls", "redirect", "tcp", "grpc")


def judge(scenario: Scenario) -> Outcome:
    """What the kubelet's prober makes of the server."""
    container = ContainerSpec("app", {scenario.kind: scenario.probe})

    async def run() -> Outcome:
        pod = PodAddress(scenario.address)
        try:
            return await probe(scenario.kind, container, pod)
        finally:
            await pod.network.lingering.settle()

    return asyncio.run(run())


def check_expectations(scenario: Scenario, outcome: Outcome) -> None:
    """The fields of ``expect`` that every group may have."""
    expect = scenario.vector["expect"]
    if "result" in expect:
        assert outcome.verdict.result == expect["result"], outcome
    if "output" in expect:
        pattern = scenario.message()
        assert pattern is not None
        assert re.fullmatch(pattern, outcome.verdict.output), (pattern, outcome.verdict)
    if "outputBytes" in expect:
        assert len(outcome.verdict.output) == expect["outputBytes"]
    if "error" in expect:
        assert outcome.verdict.error == expect["error"]
    else:
        assert outcome.verdict.error is None
    assert (outcome.result is not None) is expect.get("countsTowardThreshold", True)
    assert outcome.attempts == expect.get("attempts", 1)
    assert outcome.attempts <= MAX_ATTEMPTS


@pytest.mark.parametrize("vector", group("http", "redirect", "tcp"), ids=vector_id)
def test_verdict(vector: dict[str, Any]) -> None:
    with serve_vector(vector) as scenario:
        outcome = judge(scenario)
    check_expectations(scenario, outcome)
    if vector["expect"].get("proxyUsed") is False:
        assert outcome.verdict.result is Result.SUCCESS
        assert scenario.running.facts["proxy"].connections == 0
    if vector["id"] == "redir-21":
        *_, to_other = scenario.running.requests
        assert f"Host: {scenario.address}:{app_of(scenario.running).port}" in header_lines(to_other)


@pytest.mark.parametrize("vector", group("request_target"), ids=vector_id)
def test_request_target(vector: dict[str, Any]) -> None:
    given, expect = vector["given"], vector["expect"]
    if "url" in expect:
        assert str(probe_url("http", given["podIP"], given["port"], given["path"])) == expect["url"]
        return
    if "requestTarget" not in expect:
        outcome = judge_without_server(given)
        assert outcome.verdict.result == expect["result"]
        if "output" in expect:
            assert outcome.verdict.output == expect["output"]
        else:
            assert expect["errorContains"] in str(outcome.verdict.error)
            assert outcome.result is None
        return
    with serve_vector(vector) as scenario:
        assert judge(scenario).verdict.result is Result.SUCCESS
    line = scenario.running.requests[0].split(b"\r\n")[0]
    assert line == f"GET {expect['requestTarget']} HTTP/1.1".encode()


def judge_without_server(given: dict[str, Any]) -> Outcome:
    fields = {k: v for k, v in given.items() if k in ("path", "port", "host")}
    scenario = Scenario({}, {"httpGet": fields}, running=None)  # type: ignore[arg-type]
    return judge(scenario)


@pytest.mark.parametrize("vector", group("headers"), ids=vector_id)
def test_headers(vector: dict[str, Any]) -> None:
    expect = vector["expect"]
    with serve_vector(vector) as scenario:
        outcome = judge(scenario)
    running = scenario.running
    if "output" in expect:
        check_expectations(scenario, outcome)
        assert running.requests == []
        return
    assert outcome.verdict.result is Result.SUCCESS
    lines = header_lines(running.requests[0])
    fields = [line.partition(": ")[::2] for line in lines]
    if "headerMap" in expect:
        defaults = {"User-Agent", "Accept", "Host", "Connection"} - {*expect["headerMap"]}
        seen: dict[str, list[str]] = {}
        for name, value in fields:
            if name not in defaults:
                seen.setdefault(name, []).append(value)
        if "Connection" in expect["headerMap"]:
            seen["Connection"].remove("close")  # the transport's own line, on top of the map
        assert seen == expect["headerMap"]
    if "wireHeadersInOrder" in expect:
        host = f"{scenario.address}:{running.port}"
        version = USER_AGENT.removeprefix("kube-probe/")
        assert lines == [
            line.replace("<podIP>:<port>", host).replace("<major>.<minor>", version)
            for line in expect["wireHeadersInOrder"]
        ]
    if "serverSees" in expect:
        assert any(line.startswith(expect["serverSees"]) for line in lines), lines
    if "serverDoesNotSee" in expect:
        assert expect["serverDoesNotSee"] not in dict(fields)
    if "serverSeesHost" in expect:
        host = expect["serverSeesHost"].replace("<podIP>", scenario.address)
        assert dict(fields)["Host"] == host.replace("<port>", str(running.port))
    for line in expect.get("wireContains", ()):
        assert line in lines
    for text in expect.get("wireLacks", ()):
        assert not any(line.startswith(text) for line in lines), lines


@pytest.mark.parametrize("vector", group("tls"), ids=vector_id)
def test_tls(vector: dict[str, Any]) -> None:
    expect = vector["expect"]
    with serve_vector(vector) as scenario:
        outcome = judge(scenario)
        if "clientHello" in expect:
            scenario.manifest["httpGet"]["host"] = "localhost"
            judge(scenario)
    if "clientHello" not in expect:
        check_expectations(scenario, outcome)
        if expect.get("negotiated") == "h2":
            seen = scenario.running.requests[0]
            assert b":method: GET" in seen
            assert b"connection: close" not in seen
        return
    by_ip, by_name = map(parse_hello, scenario.running.requests)
    assert by_ip["server_name"] is None
    assert by_name["server_name"] == "localhost"
    assert by_ip["alpn"] == expect["clientHello"]["alpn"]
    versions = {"1.2": 0x0303, "1.3": 0x0304}
    wanted = {versions[expect["clientHello"][name]] for name in ("minVersion", "maxVersion")}
    assert set(by_ip["versions"]) == wanted


def parse_hello(record: bytes) -> dict[str, Any]:
    """SNI, ALPN and versions of a ClientHello (RFC 8446 section 4.1.2)."""
    at = 5 + 4 + 2 + 32
    at += 1 + record[at]  # legacy_session_id
    at += 2 + int.from_bytes(record[at : at + 2])  # cipher_suites
    at += 1 + record[at]  # legacy_compression_methods
    at += 2
    found: dict[str, Any] = {"server_name": None}
    while at < len(record):
        kind = int.from_bytes(record[at : at + 2])
        length = int.from_bytes(record[at + 2 : at + 4])
        data = record[at + 4 : at + 4 + length]
        if kind == 0:
            found["server_name"] = data[5:].decode()
        elif kind == 16:
            found["alpn"] = re.findall(r"[\w./]+", data[2:].decode("latin-1"))
        elif kind == 43:
            found["versions"] = [int.from_bytes(data[i : i + 2]) for i in range(1, len(data), 2)]
        at += 4 + length
    return found


@pytest.mark.parametrize("vector", group("grpc"), ids=vector_id)
def test_grpc(vector: dict[str, Any]) -> None:
    expect = vector["expect"]
    with serve_vector(vector) as scenario:
        outcome = judge(scenario)
    if "metadata" in expect:
        metadata = dict(line.split(b": ", 1) for line in scenario.running.requests[0].split(b"\n"))
        host = f"{scenario.address}:{scenario.running.port}"
        for name, value in expect["metadata"].items():
            pattern = re.escape(value.replace("<ip>:<port>", host))
            pattern = pattern.replace(r"<major>\.<minor>", r"\d+\.\d+").replace(
                "<version>", r"[\d.]+"
            )
            assert re.fullmatch(pattern, metadata[name.encode()].decode()), metadata
        return
    if ' ":32" ' in expect["output"]:  # the upstream test has no host, a kubelet always has
        output = expect["output"].replace('":32"', '"<ip>:<port>"')
        scenario.vector = {**vector, "expect": {**expect, "output": output}}
    check_expectations(scenario, outcome)
