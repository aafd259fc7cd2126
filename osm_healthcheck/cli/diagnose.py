"""``osm-healthcheck diagnose``: whether a verdict through the sidecar is the direct one."""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from osm_healthcheck.cli.app_arguments import add_output, app_parser
from osm_healthcheck.cli.arguments import guarded
from osm_healthcheck.cli.cluster_arguments import (
    add_cluster_options,
    names_a_cluster,
    read_selection,
)
from osm_healthcheck.cli.sources import read_sources, sources_of

if TYPE_CHECKING:
    from osm_healthcheck.diagnosis.comparison import Comparison
    from osm_healthcheck.diagnosis.probe_pairs import PodProbes

_HERE = "127.0.0.1"
_WHAT = """\
Ask each probe of a manifest twice, directly and through the sidecar, and say whether the
verdicts agree and, where not, why. The manifest may be original or injected. Without
--sidecar one is started here, and stopped afterwards. Of a pod in a cluster, as deploy/web,
the ports are forwarded by kubectl.
"""
_EPILOG = """\
Exit code: 0 where all agree, 1 where not, 2 for bad input or where no sidecar can be started.

examples: osm-healthcheck diagnose pod.yaml
          osm-healthcheck diagnose -n bookstore deploy/bookstore
"""


def run(argv: Sequence[str]) -> int:
    """Run the command; 0, 1 where verdicts differ, 2 for bad input or where it cannot be done."""
    parser = parser_of()
    options = parser.parse_args(argv)
    options.files = [] if options.file is None else [options.file]
    options.selection = None
    if names_a_cluster(parser, options, options.files, options.more_files):
        if options.sidecar is not None or options.port_map or options.host != _HERE:
            parser.error("of a cluster: leave --sidecar, --host and --port-map out")
        options.selection = read_selection(parser, options, options.files)
    return guarded(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    from osm_healthcheck.cli.files import print_error
    from osm_healthcheck.cluster.api import ClusterError
    from osm_healthcheck.errors import InvalidInputError
    from osm_healthcheck.server.listen import ListenError

    try:
        comparisons = _in_cluster(options) if options.selection else _here(options)
    except ClusterError as error:
        print_error(f"osm-healthcheck diagnose: {error}")
        return 2
    except InvalidInputError as error:
        for one in error.errors:
            print_error(one)
        return 2
    except ListenError as error:
        print(
            f"osm-healthcheck diagnose: {error.problem}; end the process that has it, "
            "or ask that one: --sidecar localhost",
            file=sys.stderr,
        )
        return 2
    differ = sum(not comparison.agrees for comparison in comparisons)
    if options.output == "json":
        _print_json(comparisons)
    else:
        _print_text(comparisons)
    return 1 if differ else 0


def _here(options: argparse.Namespace) -> "Sequence[Comparison]":
    """Ask an app that runs here, or whose ports somebody has forwarded."""
    from osm_healthcheck.cli import coroutines

    pods = _read(options)
    _print_warnings(pods)
    return coroutines.run(_diagnose(pods, options))


def _in_cluster(options: argparse.Namespace) -> "Sequence[Comparison]":
    """Ask a pod of the cluster and its sidecar, by a port-forward of their ports."""
    import asyncio

    from osm_healthcheck.cli import coroutines
    from osm_healthcheck.cluster.api import Cluster, ClusterError
    from osm_healthcheck.cluster.port_forward import ADDRESS, port_forward
    from osm_healthcheck.cluster.selection import read_running_pod
    from osm_healthcheck.diagnosis.comparison import compare_forwarded, is_serving
    from osm_healthcheck.diagnosis.probe_pairs import find_probe_pairs, ports_of
    from osm_healthcheck.kubelet.address import PodAddress
    from osm_healthcheck.probes.constants import HEALTHCHECK_PORT
    from osm_healthcheck.wire.dial import Network

    cluster = Cluster(options.kubeconfig, options.context)
    value = read_running_pod(cluster, options.selection)
    name, namespace = value["metadata"]["name"], value["metadata"]["namespace"]
    pods = find_probe_pairs(value, options.container, {})
    _check_container(options.container, pods)
    _print_warnings(pods)
    pairs = [pair for pod in pods for pair in pod.pairs]
    look = f"see osm-healthcheck verify -n {namespace} pod/{name}"
    if pairs and not any(pod.is_injected for pod in pods):
        raise ClusterError(f"pod {name} is not injected, there is nothing to compare: {look}")
    checked = [
        one for one in pairs if getattr(one.rewritten.handler, "port", 0) == HEALTHCHECK_PORT
    ]

    async def ask(ports: dict[int, int]) -> "Sequence[Comparison]":
        network = Network()
        address = PodAddress(ADDRESS, ports, network)
        # who forwards a port takes every connection, and ends where the pod refuses it
        if checked and not await is_serving(checked[0], address):
            raise ClusterError(f"nothing answers on port {HEALTHCHECK_PORT} of pod {name}: {look}")
        found = await asyncio.gather(*(compare_forwarded(pair, address) for pair in pairs))
        await network.lingering.settle()
        return found

    with port_forward(cluster, namespace, name, ports_of(pairs)) as ports:
        return coroutines.run(ask(ports))


def _print_warnings(pods: "Sequence[PodProbes]") -> None:
    from osm_healthcheck.cli.files import print_error

    for pod in pods:
        for warning in pod.warnings:
            print_error(warning)


def _check_container(container: str | None, pods: "Sequence[PodProbes]") -> None:
    from osm_healthcheck.diagnosis.probe_pairs import names_of
    from osm_healthcheck.errors import FieldError, InvalidInputError
    from osm_healthcheck.probes.quote import quoted

    if container is not None and not any(pod.pairs for pod in pods):
        problem = f"no probes of {quoted(container)}; there are {names_of(pods)}"
        raise InvalidInputError([FieldError("--container", problem)])


def _read(options: argparse.Namespace) -> "list[PodProbes]":
    from osm_healthcheck.cli.files import ManifestReader, named
    from osm_healthcheck.diagnosis.probe_pairs import PodProbes, find_probe_pairs
    from osm_healthcheck.errors import InvalidInputError

    reader = ManifestReader("diagnose")
    # a running sidecar asks the pod's own ports; one that is started here is given the mapped ones
    ports = options.port_map if options.sidecar is None else {}
    pods: list[PodProbes] = []
    for path, document in reader.read(sources_of(options)):
        try:
            pods += find_probe_pairs(document.value, options.container, ports)
        except InvalidInputError as error:
            reader.refuse(path, document, error)
    if not pods and not reader.validation.errors:
        problem = "no pod in it, nor a Deployment or the like that has one"
        reader.validation.error(named(read_sources(options)), problem)
    reader.validation.raise_errors()
    _check_container(options.container, pods)
    return pods


async def _diagnose(pods: "Sequence[PodProbes]", options: argparse.Namespace) -> "list[Comparison]":
    import asyncio

    from osm_healthcheck.diagnosis.comparison import examine
    from osm_healthcheck.diagnosis.local_sidecar import local_sidecar
    from osm_healthcheck.kubelet.address import PodAddress
    from osm_healthcheck.wire.dial import Network

    host = await _address("--host", options.host)
    network = Network()
    comparisons: list[Comparison] = []
    for pod in pods:
        if not pod.pairs:
            continue
        if options.sidecar is not None:
            app = PodAddress(host, options.port_map, network)
            where = await _address("--sidecar", options.sidecar)
            sidecar = PodAddress(where, network=network)
            comparisons += await asyncio.gather(*(examine(one, app, sidecar) for one in pod.pairs))
            continue
        async with local_sidecar(pod.declaration, host) as address:
            app, sidecar = (PodAddress(one, network=network) for one in (host, address))
            comparisons += await asyncio.gather(*(examine(one, app, sidecar) for one in pod.pairs))
    await network.lingering.settle()
    return comparisons


async def _address(option: str, host: str) -> str:
    from osm_healthcheck.errors import FieldError, InvalidInputError
    from osm_healthcheck.kubelet.address import LookupFailedError, resolve

    try:
        return (await resolve(host))[0]
    except LookupFailedError as error:
        raise InvalidInputError([FieldError(option, str(error))]) from None


def _print_text(comparisons: "Sequence[Comparison]") -> None:
    from osm_healthcheck.diagnosis.comparison import verdict
    from osm_healthcheck.kubelet.describe import describe
    from osm_healthcheck.reports.reports import printable

    pods = {comparison.pair.pod for comparison in comparisons}
    for comparison in comparisons:
        pair = comparison.pair
        name = pair.name if len(pods) == 1 else f"{pair.pod}: {pair.name}"
        agree = f"agree, {verdict(comparison.direct)}" if comparison.agrees else "DIFFER"
        print(f"{name}: {agree}")
        if comparison.agrees and not comparison.why:
            continue
        print(f"  probe:    {describe(pair.original)}")
        for label, outcome in (("direct", comparison.direct), ("sidecar", comparison.through)):
            text = printable(outcome.verdict.error or outcome.verdict.output)
            text = "" if verdict(outcome) == "success" else f": {text}"
            print(f"  {label + ':':<9} {verdict(outcome)}{text}")
        if comparison.why:
            print(f"  why:      {printable(comparison.why)}")
    differ = sum(not comparison.agrees for comparison in comparisons)
    failing = sum(verdict(comparison.direct) == "failure" for comparison in comparisons)
    if not comparisons:
        print("no probes to ask: none of kind httpGet, tcpSocket or grpc")
    elif differ:
        print(f"{differ} of {len(comparisons)} verdicts differ")
    else:
        blame = (
            f"; {failing} of {len(comparisons)} fail at the app: the mesh is not to blame"
            if failing
            else ""
        )
        agree = f"all {len(comparisons)} verdicts agree" if len(comparisons) > 1 else ""
        print(f"{agree or 'the verdicts agree'}{blame}")


def _print_json(comparisons: "Sequence[Comparison]") -> None:
    import json

    from osm_healthcheck.diagnosis.comparison import verdict

    for comparison in comparisons:
        pair = comparison.pair
        asked = {
            label: {
                "verdict": verdict(outcome),
                "output": outcome.verdict.error or outcome.verdict.output,
                "seconds": round(outcome.seconds, 6),
            }
            for label, outcome in (("direct", comparison.direct), ("sidecar", comparison.through))
        }
        print(
            json.dumps(
                {
                    "pod": pair.pod,
                    "container": pair.container,
                    "probe": pair.kind.value,
                    "agree": comparison.agrees,
                    **asked,
                    "why": comparison.why,
                }
            )
        )


def parser_of() -> argparse.ArgumentParser:
    """The command's options."""
    parser = app_parser("diagnose", _WHAT, _EPILOG, objects=True)
    parser.add_argument(
        "--sidecar",
        metavar="HOST",
        help="ask the sidecar that runs there (behind kubectl port-forward: localhost)",
    )
    add_output(parser, "json: one object a line for each probe")
    add_cluster_options(parser)
    return parser
