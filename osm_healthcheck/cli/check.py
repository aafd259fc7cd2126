"""``osm-healthcheck check``: one probe of one address, without a manifest."""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from osm_healthcheck.cli.app_arguments import add_output, duration
from osm_healthcheck.cli.arguments import command_parser, guarded
from osm_healthcheck.probes.quote import printable, without_password

if TYPE_CHECKING:
    from osm_healthcheck.kubelet.prober import Outcome
    from osm_healthcheck.probes.probe import Handler, HTTPHeader

_WHAT = """\
Probe one address once, by the kubelet's rules: its redirects, timeouts and TLS, and its words for
what went wrong.
"""
_EPILOG = """\
TARGET is one of
  http://HOST[:PORT][/PATH]     httpGet; https:// is not verified, as by the kubelet
  tcp://HOST:PORT               tcpSocket
  grpc://HOST:PORT[/SERVICE]    grpc: grpc.health.v1.Health/Check without TLS

Exit code: 0 where the probe succeeds (with a warning, too), 1 where it fails, 2 for bad input.

example: osm-healthcheck check --timeout 2s http://localhost:8080/healthz
"""
_TARGET = re.compile(
    r"(?P<scheme>https?|tcp|grpc)://(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[^\s\[\]/?#@:]+)"
    r"(?::(?P<port>[0-9]+))?(?P<rest>(?:[/?].*)?)",
    re.DOTALL,
)
_DEFAULT_PORTS = {"http": 80, "https": 443}


def run(argv: Sequence[str]) -> int:
    """Run the command; 0, 1 where the probe fails, 2 for bad input."""
    options = _parser().parse_args(argv)
    return guarded(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    from osm_healthcheck.cli import coroutines
    from osm_healthcheck.kubelet.verdict import Result

    try:
        handler, host = _read_target(options.target, tuple(options.header))
        outcome = coroutines.run(_probe(handler, host, options.timeout))
    except ValueError as error:
        print(
            f"osm-healthcheck check: {printable(without_password(options.target))}: {error}",
            file=sys.stderr,
        )
        return 2
    print(_as_json(options.target, outcome) if options.output == "json" else _as_text(outcome))
    return 0 if outcome.result is Result.SUCCESS else 1


async def _probe(handler: "Handler", host: str, seconds: float) -> "Outcome":
    from osm_healthcheck.kubelet.address import LookupFailedError, PodAddress, resolve
    from osm_healthcheck.kubelet.handlers import run_handler
    from osm_healthcheck.kubelet.prober import Outcome, with_retries
    from osm_healthcheck.kubelet.verdict import Result, Verdict
    from osm_healthcheck.probes.constants import ProbeKind

    try:
        pod = PodAddress((await resolve(host))[0])
    except LookupFailedError as error:  # of a pod it is the kubelet's failure, too
        return Outcome(Verdict(Result.FAILURE, str(error)), Result.FAILURE, None)

    async def attempt() -> Verdict:
        return await run_handler(handler, seconds, pod, {})

    outcome = await with_retries(ProbeKind.LIVENESS, "", attempt)
    await pod.network.lingering.settle()
    return outcome


def _read_target(text: str, headers: "tuple[HTTPHeader, ...]") -> "tuple[Handler, str]":
    """What to ask, and the host.

    Raises:
        ValueError: where ``text`` is no target; it says why.
    """
    from osm_healthcheck.probes.ports import PORT_RANGE, parse_port
    from osm_healthcheck.probes.probe import GRPCAction, HTTPGetAction, TCPSocketAction

    match = _TARGET.fullmatch(text)
    if match is None and re.match(r"\w+://[^/?#]*@", text):
        raise ValueError(
            "a target has no user: say it with --header, as 'Authorization: Basic …' (base64)"
        )
    if match is None:
        raise ValueError("write http://HOST/PATH, https://…, tcp://HOST:PORT or grpc://HOST:PORT")
    scheme, rest = match["scheme"], match["rest"]
    port = parse_port(match["port"]) if match["port"] else _DEFAULT_PORTS.get(scheme)
    if port is None:
        raise ValueError(f"the port {PORT_RANGE}" if match["port"] else f"{scheme} needs a port")
    if headers and scheme not in _DEFAULT_PORTS:
        raise ValueError("--header is for http and https")
    host = match["host"].strip("[]")
    if scheme in _DEFAULT_PORTS:
        http = HTTPGetAction(port, rest or "/", host=host, http_headers=headers)
        return (replace(http, scheme="HTTPS") if scheme == "https" else http), host
    if scheme == "tcp":
        if rest not in ("", "/"):
            raise ValueError("a tcp target has no path")
        return TCPSocketAction(port, host), host
    if "/" in rest[1:] or "?" in rest:
        raise ValueError(
            "a grpc target has one service after the port, as grpc://HOST:PORT/SERVICE"
        )
    return GRPCAction(port, rest[1:]), host


def _as_text(outcome: "Outcome") -> str:
    from osm_healthcheck.kubelet.verdict import Result
    from osm_healthcheck.reports.reports import latency, printable

    verdict = outcome.verdict
    took = f" in {latency(outcome)}"
    if verdict.error is not None:
        return f"error{took}: {printable(verdict.error)}"
    text = "" if verdict.result is Result.SUCCESS else printable(verdict.output)
    return f"{verdict.result}{took}{': ' * bool(text)}{text}"


def _as_json(target: str, outcome: "Outcome") -> str:
    verdict = outcome.verdict
    result = "error" if verdict.error is not None else verdict.result.value
    return json.dumps(
        {
            "target": target,
            "result": result,
            "output": verdict.error if verdict.error is not None else verdict.output,
            "seconds": round(outcome.seconds, 6),
            "attempts": outcome.attempts,
        },
        ensure_ascii=False,
    )


def _header(text: str) -> "HTTPHeader":
    from osm_healthcheck.probes.probe import HTTPHeader

    name, colon, value = text.partition(":")
    if not colon or not re.fullmatch(r"[-A-Za-z0-9]+", name):
        raise argparse.ArgumentTypeError(f"not a header: {text!r}; write 'Name: value'")
    return HTTPHeader(name, value.strip())


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("check", _WHAT, _EPILOG)
    parser.add_argument("target", metavar="TARGET", help="what to probe, see below")
    parser.add_argument(
        "--timeout",
        type=duration,
        default=1.0,
        metavar="TIME",
        help="the time for all of it, as 2s (default 1s: that of timeoutSeconds)",
    )
    parser.add_argument(
        "--header",
        action="append",
        type=_header,
        default=[],
        metavar="'NAME: VALUE'",
        help="one of httpHeaders; may be given more than once",
    )
    add_output(parser, "json: one object")
    return parser
