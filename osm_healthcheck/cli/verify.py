"""``osm-healthcheck verify``: what is wrong with the probes of a meshed pod."""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from osm_healthcheck import __version__
from osm_healthcheck.cli.arguments import guarded, parser_for
from osm_healthcheck.cli.files import ManifestReader
from osm_healthcheck.errors import Validation
from osm_healthcheck.injection.auto_mesh import MeshFinder
from osm_healthcheck.injection.pods import Manifest, Pod, pods_in
from osm_healthcheck.mesh.annotations import MESHES
from osm_healthcheck.reports.findings import as_json, as_text, is_right, wants_colour
from osm_healthcheck.verification.events import by_pod, events_in, of_pod
from osm_healthcheck.verification.findings import Finding
from osm_healthcheck.verification.verify import Context, verify

_MESHES = tuple(MESHES.values())
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
        "--failed", action="store_true", help="print only what is wrong, of the pods that have it"
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
    seen = _Seen()
    _read_files(reader, options.files, seen)
    if not seen.pods and not reader.validation.errors:
        reader.validation.error(", ".join(options.files), "there is no pod in it")
    if not reader.finish("nothing was verified"):
        return 2
    found = seen.verified(Context(__version__, _MESHES, options.no_init, seen.finder))
    report = as_json if options.output == "json" else as_text
    print(report(found, only_failed=options.failed, colour=wants_colour(sys.stdout)))
    return int(not all(is_right(findings) for _, findings in found))


class _Seen:
    """The pods that are to be verified, and what else was read of the cluster that they are in."""

    def __init__(self) -> None:
        self.pods: list[Pod] = []
        self.finder = MeshFinder(_MESHES)
        self._events: list[Manifest] = []

    def add(self, value: object, validation: Validation) -> None:
        """Take from one document what is in it."""
        self.pods += pods_in(value, validation)
        self._events += events_in(value)
        self.finder.remember_namespaces(value)

    def verified(self, context: Context) -> list[tuple[str, list[Finding]]]:
        """What is found out about each pod."""
        events = by_pod(self._events)
        now = time.time()
        return [
            (pod.where, verify(pod, replace(context, events=of_pod(events, pod), now=now)))
            for pod in self.pods
        ]


def _read_files(reader: ManifestReader, paths: Sequence[str], seen: _Seen) -> None:
    for path in paths:
        for document in reader.documents(path):
            if not document.is_empty:
                validation = Validation()
                seen.add(document.value, validation)
                reader.refuse(path, document, validation)
