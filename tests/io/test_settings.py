"""Flags and environment: what is said is done, and every error is named with its key."""

import itertools
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from osm_healthcheck import __version__
from osm_healthcheck.errors import InvalidInputError
from osm_healthcheck.probes.constants import ProbeKind
from osm_healthcheck.probes.probe import GRPCAction, HTTPGetAction, TCPSocketAction
from osm_healthcheck.server.options import OPTIONS, read_settings
from osm_healthcheck.server.settings import Settings
from tests.io.sidecar import process

PROBES = json.dumps({"app": {"livenessProbe": {"tcpSocket": {"port": 5432}}}})


def read(*arguments: str, **environ: str) -> Settings:
    return read_settings(arguments, environ)


def errors(*arguments: str, **environ: str) -> list[str]:
    with pytest.raises(InvalidInputError) as caught:
        read(*arguments, **environ)
    return [str(error) for error in caught.value.errors]


def test_nothing_said_is_osm_s_daemon() -> None:
    settings = read()
    assert settings.pod.targets is None
    assert settings.pod.bind == ("0.0.0.0", "::")
    assert settings.pod.drain == 25.0
    assert (settings.process.verbosity, settings.process.log_format) == ("info", "json")
    assert [p for p in range(15900, 15910) if p in settings.pod.ports] == [
        15901,
        15902,
        15903,
        15904,
    ]


def test_every_option_has_a_twin_and_the_flag_beats_it() -> None:
    values = {
        "--probes": ("{}", PROBES),
        "--liveness": ("tcp://:1", "tcp://:2"),
        "--readiness": ("tcp://:1", "tcp://:2"),
        "--startup": ("tcp://:1", "tcp://:2"),
        "--target-host": ("127.0.0.2", "127.0.0.3"),
        "--allow-from": ("10.0.0.0/8", "192.0.2.0/24"),
        "--bind": ("127.0.0.2", "127.0.0.3"),
        "--healthcheck-port": ("1001", "1002"),
        "--liveness-port": ("1001", "1002"),
        "--readiness-port": ("1001", "1002"),
        "--startup-port": ("1001", "1002"),
        "--drain": ("1", "2"),
        "--verbosity": ("debug", "error"),
        "--log-format": ("console", "json"),
    }
    assert set(values) == {option.flag for option in OPTIONS}

    def shown(settings: Settings) -> str:
        targets = settings.pod.targets
        ports = None if targets is None else sorted(targets.ports)
        return str([ports, settings.pod._replace(targets=None), settings.process])

    for option in OPTIONS:
        ours, theirs = values[option.flag]
        flag, twin = read(option.flag, ours), read(**{option.twin: ours})
        both = read(option.flag, ours, **{option.twin: theirs})
        other = read(**{option.twin: theirs})
        assert shown(flag) == shown(twin) == shown(both) != shown(other), option


def test_probes_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "probes.json"
    file.write_text(PROBES)
    targets = read("--probes", f"@{file}").pod.targets
    assert targets is not None
    assert set(targets.checks) == {(5432, None)}


@pytest.mark.parametrize(
    ("url", "handler"),
    [
        ("http://:14001/liveness", HTTPGetAction(14001, "/liveness")),
        ("http://:14001", HTTPGetAction(14001, "/")),
        ("http://:80/a?b=c&d", HTTPGetAction(80, "/a?b=c&d")),
        ("http://:80?b", HTTPGetAction(80, "?b")),
        ("https://:8443/healthz", HTTPGetAction(8443, "/healthz", "HTTPS")),
        ("tcp://:5432", TCPSocketAction(5432)),
        ("grpc://:50051", GRPCAction(50051)),
        ("grpc://:50051/my.Service", GRPCAction(50051, "my.Service")),
    ],
)
def test_the_short_form(url: str, handler: object) -> None:
    targets = read("--startup", url).pod.targets
    assert targets is not None
    declared = [t.declared for r in targets.routes.values() for t in r.http.values()]
    declared += [probe for target in targets.checks.values() for probe in target.probes]
    assert {(d.container, d.kind, d.probe.handler) for d in declared} == {
        ("app", ProbeKind.STARTUP, handler)
    }


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--probes", ""], "--probes: it is empty"),
        (["--probes", "{"], "--probes: it is not JSON"),
        (["--probes", "[]"], "--probes: must be a mapping from container names"),
        (["--probes", "@/no/such/file"], '--probes: cannot read "/no/such/file": No such file'),
        (["--probes", PROBES, "--liveness", "tcp://:1"], "--probes: declares probes and so does"),
        (["--liveness", "http://app:80/"], "names a host"),
        (["--liveness", "http://:0/"], "has no port from 1 to 65535"),
        (["--liveness", "http://:99999/"], "has no port from 1 to 65535"),
        (["--liveness", "http:///x"], "is not a probe: write http://:14001/liveness"),
        (["--liveness", "ftp://:21/"], "is not a probe"),
        (["--liveness", "tcp://:21/x"], "is not a probe"),
        (["--liveness", "grpc://:21/a/b"], "is not a probe"),
        (["--liveness", "tcp://:15904"], "which is the sidecar's own"),
        (["--liveness", ""], '--liveness: "" is not a probe'),
        (["--healthcheck-port", "0"], '--healthcheck-port: "0" is not a port'),
        (["--healthcheck-port", "15901"], "15901 is the healthcheck port already"),
        (["--target-host", "[::1]"], "write an IPv6 address without brackets"),
        (["--target-host", "no-such-host.invalid"], 'cannot resolve "no-such-host.invalid"'),
        (["--allow-from", ""], "--allow-from: it is empty"),
        (["--allow-from", "10.0.0.1/8"], "--allow-from: 10.0.0.1/8 has host bits set"),
        (["--allow-from", "10.0.0.0/8,nonsense"], "--allow-from: 'nonsense'"),
        (["--bind", "localhost"], '--bind: "localhost" is not an IP address'),
        (["--bind", "::1,0:0::1"], '--bind: "::1" stands there twice'),
        (["--drain", "-1"], '--drain: "-1" is not a number of seconds'),
        (["--drain", "inf"], '--drain: "inf" is not a number of seconds'),
        (["--drain", "soon"], '--drain: "soon" is not a number of seconds'),
        (["--verbosity", "loud"], '--verbosity: "loud" is none of trace, debug'),
        (["--log-format", "xml"], '--log-format: "xml" is none of json, console'),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_error_is_named_with_its_key(arguments: list[str], told: str) -> None:
    assert any(told in line for line in errors(*arguments)), errors(*arguments)


def test_an_error_in_the_environment_is_named_with_its_variable() -> None:
    told = errors(OSM_HEALTHCHECK_DRAIN="x", OSM_HEALTHCHECK_PROBES=" ", POD_IP="pod")
    assert sorted(line.partition(":")[0] for line in told) == [
        "OSM_HEALTHCHECK_DRAIN",
        "OSM_HEALTHCHECK_PROBES",
        "POD_IP",
    ]


def test_all_errors_are_told_at_once() -> None:
    probes = {
        "app": {
            "livenessProbe": {"httpGet": {"port": "http", "host": "node"}, "timeoutSeconds": -1},
            "readinessProbe": {"exec": {"command": ["true"]}},
            "startupProbe": {"tcpSocket": {"port": 15904}},
            "livenesProbe": {},
        },
        "Bad_Name": {"livenessProbe": {}},
    }
    told = errors("--probes", json.dumps(probes), "--drain", "x")
    keys = [line.rpartition(": ")[0] for line in told]
    for key in (
        "--probes: app.livenessProbe.httpGet.port",
        "--probes: app.livenessProbe.httpGet.host",
        "--probes: app.livenessProbe.timeoutSeconds",
        "--probes: app.readinessProbe.exec",
        "--probes: app.startupProbe.tcpSocket.port",
        "--probes: app.livenesProbe",
        "--probes: Bad_Name",
        "--probes: Bad_Name.livenessProbe",
        "--drain",
    ):
        assert any(found.startswith(key) for found in keys), (key, told)


def test_wrong_settings_end_with_2_and_nothing_bound() -> None:
    with process("--drain", "x", "--healthcheck-port", "0") as running:
        assert running.wait() == 2
        assert [line.split(":")[1].strip() for line in running.text] == [
            "--healthcheck-port",
            "--drain",
        ]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((running.address, 15904))


@given(
    st.lists(
        st.tuples(
            st.sampled_from([option.flag for option in OPTIONS]),
            st.sampled_from(["", " ", "{}", "tcp://:1", "1001", "info", "json", "::1", "a=b"]),
        ),
        max_size=4,
    )
)
def test_a_value_after_a_blank_is_the_one_after_an_equals_sign(
    given: list[tuple[str, str]],
) -> None:
    def outcome(arguments: list[str]) -> str:
        try:
            settings = read(*arguments)
        except InvalidInputError as error:
            return str(error)
        targets = settings.pod.targets
        checks = None if targets is None else [*targets.checks]
        return str([checks, settings.pod._replace(targets=None), settings.process])

    apart = outcome([*itertools.chain.from_iterable(given)])
    assert apart == outcome([f"{flag}={value}" for flag, value in given])


@pytest.mark.parametrize(
    "arguments",
    [
        ["--nonsense"],
        ["--nonsense", "1"],
        ["nonsense"],
        ["serve", "extra"],
        ["--drain"],
        ["--bind", "--drain"],
    ],
)
def test_a_wrong_usage_ends_with_2(arguments: list[str]) -> None:
    with process(*arguments, bind=False) as running:
        assert running.wait() == 2
        assert "Traceback" not in "".join(running.text)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--version"], f"osm-healthcheck {__version__}"),
        (["serve", "--version"], f"osm-healthcheck {__version__}"),
        (["--help"], "osm-healthcheck [COMMAND]"),
        (["serve", "--help"], "--target-host HOST"),
    ],
)
def test_help_and_version(arguments: list[str], said: str) -> None:
    command = [sys.executable, "-m", "osm_healthcheck", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert said in done.stdout
