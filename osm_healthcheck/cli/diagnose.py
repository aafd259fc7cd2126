"""``osm-healthcheck diagnose``: whether a verdict through the sidecar is the direct one."""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from osm_healthcheck.cli.app_arguments import add_output, app_parser
from osm_healthcheck.cli.arguments import guarded

if TYPE_CHECKING:
    from osm_healthcheck.desk.reasons import Finding
    from osm_healthcheck.desk.subjects import PodUnderTest

_WHAT = """\
Ask each probe of a manifest twice, directly and through the sidecar, and say whether the
verdicts agree and, where not, why. The manifest may be original or injected. Without
--sidecar one is started for the occasion.
"""
_EPILOG = """\
Exit code: 0 where all agree, 1 where not, 2 for bad input or where no sidecar can be started.

A sidecar in a cluster, and its app:
  kubectl port-forward deployment/bookstore 14001 15901 15902 15903 15904 &
  kubectl get deployment bookstore -o yaml | osm-healthcheck diagnose --sidecar localhost -
"""


def run(argv: Sequence[str]) -> int:
    """Run the command; 0, 1 where verdicts differ, 2 for bad input or where it cannot be done."""
    options = _parser().parse_args(argv)
    return guarded(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    import asyncio

    from osm_healthcheck.core.errors import InvalidInputError
    from osm_healthcheck.daemon.listen import ListenError

    try:
        pods = _read(options)
        for pod in pods:
            for note in pod.notes:
                print(note, file=sys.stderr)
        findings = asyncio.run(_diagnose(pods, options))
    except InvalidInputError as error:
        for mistake in error.mistakes:
            print(mistake, file=sys.stderr)
        return 2
    except ListenError as error:
        print(
            f"osm-healthcheck diagnose: {error.problem}; end the process that has it, "
            "or ask that one: --sidecar localhost",
            file=sys.stderr,
        )
        return 2
    differ = sum(not finding.agrees for finding in findings)
    if options.output == "json":
        _print_json(findings)
    else:
        _print_text(findings)
    return 1 if differ else 0


def _read(options: argparse.Namespace) -> "list[PodUnderTest]":
    from osm_healthcheck.cli.files import STDIN, Reader
    from osm_healthcheck.core.errors import InvalidInputError, Mistake
    from osm_healthcheck.desk.subjects import find_subjects, names_of

    source = "stdin" if options.file == STDIN else options.file
    reader = Reader("diagnose")
    documents = [one.value for one in reader.documents(options.file) if not one.is_empty]
    if reader.mistakes:
        raise InvalidInputError(reader.mistakes)
    # a running sidecar asks the pod's own ports; one of ours is told of those that are here
    ports = options.port_map if options.sidecar is None else {}
    pods = find_subjects(documents, source, options.container, ports)
    if options.container is not None and not any(pod.subjects for pod in pods):
        problem = f"no probes of {options.container!r}; there are {names_of(pods)}"
        raise InvalidInputError([Mistake("--container", problem)])
    return pods


async def _diagnose(pods: "Sequence[PodUnderTest]", options: argparse.Namespace) -> "list[Finding]":
    import asyncio

    from osm_healthcheck.desk.occasion import sidecar_for
    from osm_healthcheck.desk.reasons import examine
    from osm_healthcheck.kubelet.address import PodAddress
    from osm_healthcheck.wire.stream import settle

    host = await _address("--host", options.host)
    findings: list[Finding] = []
    for pod in pods:
        if not pod.subjects:
            continue
        if options.sidecar is not None:
            app = PodAddress(host, options.port_map)
            sidecar = PodAddress(await _address("--sidecar", options.sidecar))
            findings += await asyncio.gather(*(examine(one, app, sidecar) for one in pod.subjects))
            continue
        async with sidecar_for(pod.declaration, host) as address:
            app, sidecar = PodAddress(host), PodAddress(address)
            findings += await asyncio.gather(*(examine(one, app, sidecar) for one in pod.subjects))
    await settle()
    return findings


async def _address(option: str, host: str) -> str:
    from osm_healthcheck.core.errors import InvalidInputError, Mistake
    from osm_healthcheck.kubelet.address import LookupFailedError, resolve

    try:
        return (await resolve(host))[0]
    except LookupFailedError as error:
        raise InvalidInputError([Mistake(option, str(error))]) from None


def _print_text(findings: "Sequence[Finding]") -> None:
    from osm_healthcheck.desk.reasons import verdict
    from osm_healthcheck.desk.reports import printable
    from osm_healthcheck.kubelet.describe import describe

    pods = {finding.subject.pod for finding in findings}
    for finding in findings:
        subject = finding.subject
        name = subject.name if len(pods) == 1 else f"{subject.pod}: {subject.name}"
        agree = f"agree, {verdict(finding.direct)}" if finding.agrees else "DIFFER"
        print(f"{name}: {agree}")
        if finding.agrees and not finding.why:
            continue
        print(f"  probe:    {describe(subject.original)}")
        for label, outcome in (("direct", finding.direct), ("sidecar", finding.through)):
            text = printable(outcome.verdict.error or outcome.verdict.output)
            text = "" if verdict(outcome) == "success" else f": {text}"
            print(f"  {label + ':':<9} {verdict(outcome)}{text}")
        if finding.why:
            print(f"  why:      {printable(finding.why)}")
    differ = sum(not finding.agrees for finding in findings)
    if not findings:
        print("no probes to ask: none of kind httpGet, tcpSocket or grpc")
    elif differ:
        print(f"{differ} of {len(findings)} verdicts differ")
    else:
        print(f"all {len(findings)} verdicts agree" if len(findings) > 1 else "the verdicts agree")


def _print_json(findings: "Sequence[Finding]") -> None:
    import json

    from osm_healthcheck.desk.reasons import verdict

    for finding in findings:
        subject = finding.subject
        asked = {
            label: {
                "verdict": verdict(outcome),
                "output": outcome.verdict.error or outcome.verdict.output,
                "seconds": round(outcome.seconds, 6),
            }
            for label, outcome in (("direct", finding.direct), ("sidecar", finding.through))
        }
        print(
            json.dumps(
                {
                    "pod": subject.pod,
                    "container": subject.container,
                    "probe": subject.kind.value,
                    "agree": finding.agrees,
                    **asked,
                    "why": finding.why,
                }
            )
        )


def _parser() -> argparse.ArgumentParser:
    parser = app_parser("diagnose", _WHAT, _EPILOG)
    parser.add_argument(
        "--sidecar",
        metavar="HOST",
        help="ask the sidecar that runs there (behind kubectl port-forward: localhost)",
    )
    add_output(parser, "json: one object a line for each probe")
    return parser
