"""``osm-healthcheck verify``: what is wrong with the probes of a meshed pod."""

import argparse
import json
import time
from collections.abc import Sequence
from functools import partial

from osm_healthcheck import __version__
from osm_healthcheck.cli.arguments import guarded, parser_for
from osm_healthcheck.cli.files import ManifestReader
from osm_healthcheck.errors import Validation
from osm_healthcheck.injection.pods import Manifest, Pod, pods_in
from osm_healthcheck.mesh.annotations import MESHES
from osm_healthcheck.probes.quote import printable
from osm_healthcheck.verification.findings import Finding, Mark
from osm_healthcheck.verification.verify import Context, verify

_WHAT = """\
Go through what can be wrong with the probes of a pod in a mesh: one line a check, with what
to do. It reads manifests, and what kubectl get pod NAME -o yaml says of a running pod; hand
it kubectl get events -o yaml too, and it says what the failures mean.
"""
_EPILOG = """\
✓ good   ✗ wrong   ! worth knowing

exit status: 0 nothing is wrong, 1 something is, 2 the input cannot be read

example: kubectl get pod web-0 -o yaml | osm-healthcheck verify -
"""


def run(argv: Sequence[str]) -> int:
    """Run the command; 0, 1 where something is wrong, 2 for bad input."""
    parser = parser_for("verify", _WHAT, _EPILOG)
    parser.add_argument(
        "-o",
        "--output",
        choices=("text", "json"),
        default="text",
        help="lines for people (the default), or JSON",
    )
    parser.add_argument(
        "--no-init",
        action="store_true",
        help="injected with --no-init: something else keeps the redirect off our ports",
    )
    options = parser.parse_args(argv)
    return guarded(partial(_verify, options))


def _verify(options: argparse.Namespace) -> int:
    reader = ManifestReader("verify")
    pods, events = _read(reader, options.files)
    if not pods and not reader.validation.errors:
        reader.validation.error(", ".join(options.files), "there is no pod in it")
    if not reader.finish("nothing was verified"):
        return 2
    context = Context(
        __version__,
        tuple(MESHES.values()),
        bypassed_elsewhere=options.no_init,
        events=events,
        now=time.time(),
    )
    found = [(pod.where, verify(pod, context)) for pod in pods]
    if options.output == "json":
        print(json.dumps([_as_json(*one) for one in found], indent=2, ensure_ascii=False))
    else:
        for where, findings in found:
            print(printable(where))
            for finding in findings:
                print(f"  {printable(str(finding))}")
    return int(any(one.mark is Mark.WRONG for _, findings in found for one in findings))


def _read(reader: ManifestReader, paths: Sequence[str]) -> tuple[list[Pod], list[Manifest]]:
    pods: list[Pod] = []
    events: list[Manifest] = []
    for path in paths:
        for document in reader.documents(path):
            if document.is_empty:
                continue
            validation = Validation()
            pods += pods_in(document.value, validation)
            events += _events_in(document.value)
            reader.refuse(path, document, validation)
    return pods, events


def _events_in(value: object) -> list[Manifest]:
    if not isinstance(value, dict):
        return []
    items = value.get("items")
    found = [value, *(items if isinstance(items, list) else [])]
    listed = value.get("kind") == "EventList"
    return [
        one
        for one in found
        if isinstance(one, dict) and (one.get("kind") == "Event" or (listed and one is not value))
    ]


def _as_json(where: str, findings: Sequence[Finding]) -> Manifest:
    return {
        "resource": where,
        "ok": all(one.mark is not Mark.WRONG for one in findings),
        "checks": [
            {
                "result": one.mark.name.lower(),
                "subject": one.subject,
                "text": one.text,
                "advice": one.advice,
            }
            for one in findings
        ],
    }
