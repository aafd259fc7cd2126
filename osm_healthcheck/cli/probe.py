"""``osm-healthcheck probe``: the kubelet's prober against an app that runs here."""

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain, count
from typing import TYPE_CHECKING

from osm_healthcheck.cli.app_arguments import add_output, app_parser, duration
from osm_healthcheck.cli.arguments import guarded

if TYPE_CHECKING:
    from osm_healthcheck.errors import FieldError, Validation
    from osm_healthcheck.kubelet.pod_spec import PodSpec

_WHAT = """\
Run every probe of a manifest against an app that runs here, as the kubelet would, and
print what kubectl describe pod would: the probes, and the events as they happen.
Nothing is restarted: a container that the kubelet would kill counts as started again
when its grace period is over. exec probes are not run: they belong inside the container.
"""
_EPILOG = """\
Exit code: 0 where every container has started, is ready and was never killed (--once:
where every probe succeeds), 1 where not, 2 for bad input. Ctrl-C ends a watch as
--for does.

example: osm-healthcheck probe --port-map 80=8080 pod.yaml
"""


def run(argv: Sequence[str]) -> int:
    """Run the command; 0, 1 where a probe fails, 2 for bad input."""
    options = _parser().parse_args(argv)
    return guarded(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    from osm_healthcheck.cli.files import print_error
    from osm_healthcheck.cli.sources import sources_of
    from osm_healthcheck.errors import InvalidInputError

    try:
        pods = read(sources_of(options), options.container)
    except InvalidInputError as error:
        for one in error.errors:
            print_error(one)
        return 2
    from osm_healthcheck.cli import coroutines
    from osm_healthcheck.kubelet.address import LookupFailedError
    from osm_healthcheck.reports.watching import once, watch

    try:
        if options.once:
            return coroutines.run(once(pods, options.host, options.port_map, options.output))
        return coroutines.run(
            watch(pods, options.host, options.port_map, options.output, options.duration)
        )
    except LookupFailedError as error:
        print(f"osm-healthcheck probe: --host: {error}", file=sys.stderr)
        return 2


def read(
    sources: "Iterable[str | FieldError]", container: str | None = None
) -> "tuple[PodSpec, ...]":
    """The pods of the manifests in ``sources`` (``-``: standard input).

    Raises:
        InvalidInputError: with everything that is wrong with them.
    """
    from osm_healthcheck.errors import FieldError, InvalidInputError, Validation
    from osm_healthcheck.kubelet.pod_spec import only_container
    from osm_healthcheck.probes.quote import quoted

    validation = Validation()
    found: list[PodSpec] = []
    for source in sources:
        if isinstance(source, FieldError):
            validation.errors.append(source)
        else:
            found += _read_file(source, [pod.name for pod in found], validation)
    validation.raise_errors()
    pods = tuple(found)
    if container is None:
        return pods
    chosen = only_container(pods, container)
    if not chosen:
        names = ", ".join(dict.fromkeys(one.name for pod in pods for one in pod.containers))
        raise InvalidInputError(
            [FieldError("--container", f"no {quoted(container)}; there are {names}")]
        )
    return chosen


def _read_file(path: str, names: Sequence[str], validation: "Validation") -> "list[PodSpec]":
    """The pods of one file; one of a name in ``names`` is told apart by the file's.

    One of a name that the file has twice is told apart by its kind, or by a number.
    """
    from osm_healthcheck.cli.files import ManifestReader
    from osm_healthcheck.cli.sources import source_name
    from osm_healthcheck.errors import FieldError, InvalidInputError
    from osm_healthcheck.kubelet.pod_spec import read_pods

    source = source_name(path)
    reader = ManifestReader("probe")
    documents = [one.value for one in reader.documents(path) if not one.is_empty]
    if reader.validation.errors:
        validation.include(reader.validation)
        return []
    try:
        pods = read_pods(documents, source)
    except InvalidInputError as error:
        for one in error.errors:
            where = one.where if one.where == source else f"{source}: {one.where}"
            validation.errors.append(FieldError(where, one.problem))
        return []
    told_apart: list[PodSpec] = []
    for pod in pods:
        kinds = {one.kind for one in pods if one.name == pod.name}
        label = source if pod.name in names else pod.kind if len(kinds) > 1 else 2
        taken = {*names, *(one.name for one in told_apart)}
        labelled = (f"{pod.name} ({one})" for one in chain([label], count(2)))
        name = next(one for one in chain([pod.name], labelled) if one not in taken)
        told_apart.append(replace(pod, name=name))
    return told_apart


def _parser() -> argparse.ArgumentParser:
    parser = app_parser("probe", _WHAT, _EPILOG)
    how_long = parser.add_mutually_exclusive_group()
    how_long.add_argument("--once", action="store_true", help="run each probe once, then exit")
    how_long.add_argument(
        "--for",
        dest="duration",
        type=duration,
        metavar="TIME",
        help="how long to watch, as 30s or 2m (default: until Ctrl-C)",
    )
    add_output(parser, "json: one object a line for each event, verdict and change of status")
    return parser
