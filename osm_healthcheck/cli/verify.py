"""``osm-healthcheck verify``: what is wrong with the probes of a meshed pod."""

import argparse
import io
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from http import HTTPStatus

from osm_healthcheck import __version__
from osm_healthcheck.cli.arguments import guarded, parser_for
from osm_healthcheck.cli.cluster_arguments import (
    add_cluster_options,
    is_a_person_asking,
    names_a_cluster,
    read_selection,
)
from osm_healthcheck.cli.files import ManifestReader, named, opened, print_error
from osm_healthcheck.cli.sources import add_sources, read_sources, source_name, sources_of
from osm_healthcheck.cluster.api import Cluster, ClusterError
from osm_healthcheck.cluster.selection import Selection, read_pods, read_surroundings
from osm_healthcheck.errors import Validation
from osm_healthcheck.injection.auto_mesh import MeshFinder
from osm_healthcheck.injection.pods import Manifest, Pod, pods_in
from osm_healthcheck.mesh.annotations import MESHES
from osm_healthcheck.reports.findings import Verified, as_json, as_text, is_right, wants_colour
from osm_healthcheck.verification.events import by_pod, events_in, of_pod
from osm_healthcheck.verification.verify import Context, verify

_MESHES = tuple(MESHES.values())
_WHAT = """\
Go through what can be wrong with the probes of pods in a mesh: one line a check, with what to
do. It reads a cluster, or manifests and what kubectl get pods,events,namespaces -o yaml says.
"""
_EPILOG = """\
✓ good   ✗ wrong   ! worth knowing

exit status: 0 nothing is wrong, 1 something is, 2 the input or the cluster cannot be read

examples: osm-healthcheck verify -A --failed
          osm-healthcheck verify -n bookstore deploy/bookstore
          kubectl get pod web-0 -o yaml | osm-healthcheck verify
          kubectl logs -n osm-system deploy/osm-controller | osm-healthcheck verify --logs -
"""


def run(argv: Sequence[str]) -> int:
    """Run the command; 0, 1 where something is wrong, 2 for bad input."""
    parser = _parser()
    options = parser.parse_args(argv)
    if options.logs:
        return guarded(lambda: _verify_logs(read_sources(options), options.output))
    if names_a_cluster(parser, options, options.files, options.more_files) or (
        not (options.files or options.more_files) and is_a_person_asking()
    ):
        selection = read_selection(parser, options, options.files)
        return guarded(lambda: _verify_cluster(options, selection))
    return guarded(lambda: _verify_files(options))


def _verify_files(options: argparse.Namespace) -> int:
    reader = ManifestReader("verify")
    seen = _Seen()
    for path, document in reader.read(sources_of(options)):
        validation = Validation()
        seen.add(document.value, validation)
        reader.refuse(path, document, validation)
    if not seen.pods and not reader.validation.errors:
        reader.validation.error(named(read_sources(options)), "there is no pod in it")
    if not reader.finish("nothing was verified"):
        return 2
    return _report(options, seen.verified(options, seen.pods))


def _verify_cluster(options: argparse.Namespace, selection: Selection) -> int:
    reader = ManifestReader("verify")
    seen = _Seen()
    try:
        cluster = Cluster(options.kubeconfig, options.context)
        try:
            for value in read_surroundings(cluster, selection):
                seen.add(value, reader.validation)
        except ClusterError as error:
            if error.status != HTTPStatus.FORBIDDEN:
                raise
            reader.say(f"osm-healthcheck verify: without events: {error}")
        values = read_pods(cluster, selection)
        pods = (pod for value in values for pod in pods_in(value, reader.validation))
        found = seen.verified(options, pods)  # one after another: a cluster has thousands
    except ClusterError as error:
        reader.say(f"osm-healthcheck verify: {error}")
        return 2
    if not reader.finish("nothing was verified"):
        return 2
    if not found:
        where = selection.namespace_in(cluster)
        reader.say(f"No pods found in {f'namespace {where}' if where else 'the cluster'}.")
        return 0
    return _report(options, found)


def _verify_logs(paths: Sequence[str], output: str) -> int:
    from osm_healthcheck.reports.log_errors import as_json, as_text
    from osm_healthcheck.verification.log_errors import read_log

    logs = []
    for path in paths:
        try:
            with opened(path) as binary:
                text = io.TextIOWrapper(binary, encoding="utf-8", errors="replace")
                logs.append((source_name(path), read_log(text)))
                text.detach()
        except OSError as error:
            print_error(f"{source_name(path)}: cannot be read: {error.strerror or error}")
            return 2
    print(as_json(logs) if output == "json" else as_text(logs))
    return int(any(log.errors for _, log in logs))


def _report(options: argparse.Namespace, found: Sequence[Verified]) -> int:
    report = as_json if options.output == "json" else as_text
    print(report(found, only_failed=options.failed, colour=wants_colour(sys.stdout)))
    return int(not all(is_right(findings) for _, findings in found))


class _Seen:
    """The pods in documents that were read, and what else these say of the cluster around them."""

    def __init__(self) -> None:
        self.pods: list[Pod] = []
        self._finder = MeshFinder(_MESHES)
        self._events: list[Manifest] = []

    def add(self, value: object, validation: Validation) -> None:
        """Take from one document what is in it."""
        self.pods += pods_in(value, validation)
        self._events += events_in(value)
        self._finder.remember_namespaces(value)

    def verified(self, options: argparse.Namespace, pods: Iterable[Pod]) -> list[Verified]:
        """What is found out about each pod."""
        events = by_pod(self._events)
        context = Context(__version__, _MESHES, options.no_init, self._finder, now=time.time())
        return [
            (pod.where, verify(pod, replace(context, events=of_pod(events, pod)))) for pod in pods
        ]


def _parser() -> argparse.ArgumentParser:
    parser = parser_for("verify", _WHAT, _EPILOG, objects=True)
    add_sources(parser)
    add = parser.add_argument
    add(
        "-o",
        "--output",
        choices=("text", "json"),
        default="text",
        help="lines for people (the default), or JSON",
    )
    add("--failed", action="store_true", help="print only what is wrong, of the pods that have it")
    add(
        "--no-init",
        action="store_true",
        help="injected with --no-init: something else keeps the redirect off our ports",
    )
    add(
        "--logs",
        action="store_true",
        help="the files are logs, of ours or of OSM: list the lines of level error and worse",
    )
    add_cluster_options(parser, many=True)
    return parser
