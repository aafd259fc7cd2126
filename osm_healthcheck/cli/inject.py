"""``osm-healthcheck inject``: rewrite the probes in manifests and add what answers them."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from osm_healthcheck import __version__
from osm_healthcheck.cli.arguments import guarded, parser_for
from osm_healthcheck.cli.cluster_arguments import (
    add_cluster_options,
    names_a_cluster,
    read_selection,
)
from osm_healthcheck.cli.cluster_sources import fetch
from osm_healthcheck.cli.files import print_error, rewrite
from osm_healthcheck.cli.inject_report import InjectReport
from osm_healthcheck.cli.injection_options import (
    add_injection_options,
    injection_for,
    option_problem,
)
from osm_healthcheck.cli.output_options import add_output_options, add_quiet, read_sink
from osm_healthcheck.cli.sources import add_sources, sources_of
from osm_healthcheck.cluster.api import ClusterError
from osm_healthcheck.errors import FieldError, FieldWarning
from osm_healthcheck.injection.auto_mesh import MeshFinder, NoMesh
from osm_healthcheck.injection.inject import Injection, inject, inject_each
from osm_healthcheck.injection.mesh import Mesh
from osm_healthcheck.injection.pods import ManifestChange, Pod
from osm_healthcheck.mesh.annotations import MESHES

_WHAT = """\
Rewrite the probes in Kubernetes manifests so that they work in a service mesh, and add
the container that answers them. Injecting twice with the same options changes
nothing; uninject takes it back. Nothing is written unless every document is good.
"""
_EPILOG = """\
examples: kubectl get deploy -o yaml | osm-healthcheck inject --mesh istio - | kubectl replace -f -
          osm-healthcheck inject --diff -n bookstore deploy/bookstore

Exit code: 0; with --diff 0 where nothing would change and 1 where something would; 2 for bad
input.

A pod is left alone with the annotation healthcheck.openservicemesh.io/inject: disabled, a
container with its name in healthcheck.openservicemesh.io/skip-containers: a,b.
"""
_AUTO = "auto"
_OSM = (
    "with --mesh osm nothing is rewritten: OSM's own injector does it. "
    "Hand it this image: OSM_DEFAULT_HEALTHCHECK_CONTAINER_IMAGE={image} in the environment of "
    "the deployment osm-injector (in Helm osm.image.name.osmHealthcheck is its name; registry "
    "and tag are those of all of OSM's images)"
)
_NO_OBJECT = (
    "-n, --context and --kubeconfig are of a cluster: name its objects, as deploy/web; or leave "
    "them out, to read the standard input"
)
_ALLOW_FROM_PROXY = (
    "osm-healthcheck inject: with --proxy mesh, --allow-from holds for the sidecar's port 15904 "
    "alone: on 15901-15903 the mesh's proxy answers everyone"
)


def run(argv: Sequence[str]) -> int:
    """Run the command; 0, with ``--diff`` 1 where something would change, 2 for bad input."""
    parser = _parser()
    options = parser.parse_args(argv)
    sink = read_sink(parser, options)
    if options.allow_from and options.proxy == "mesh":
        print(_ALLOW_FROM_PROXY, file=sys.stderr)
    change = _change(parser, options)
    if names_a_cluster(parser, options, options.files, options.more_files):
        if options.in_place:
            parser.error("--in-place needs files, not objects of a cluster")
        if not options.files:
            parser.error(_NO_OBJECT)
        selection = read_selection(parser, options, options.files)
        try:
            found, namespace = fetch(options, selection)
        except ClusterError as error:
            print_error(f"osm-healthcheck inject: {error}")
            return 2
        if namespace:
            change(namespace)  # it passes, and what it says of a mesh is remembered
        sources: list[str | FieldError] = [*found]
    else:
        sources = list(sources_of(options))
    report = InjectReport(
        names_files=len(sources) > 1, only_skipped=options.quiet, is_diff=options.diff
    )
    return guarded(lambda: rewrite("inject", sources, change, sink, options.output, report))


def _change(
    parser: argparse.ArgumentParser, options: argparse.Namespace
) -> Callable[[object], ManifestChange]:
    """What is done to a document."""
    if options.mesh == _AUTO:
        return partial(_inject_by_what_shows, MeshFinder(MESHES.values()), options)
    mesh = MESHES[options.mesh]
    if problem := _problem(options, mesh):
        parser.error(problem)
    if mesh.injector:
        print(f"osm-healthcheck inject: {_OSM.format(image=options.image)}", file=sys.stderr)
    return partial(inject, injection=injection_for(options, mesh))


def _inject_by_what_shows(
    finder: MeshFinder, options: argparse.Namespace, manifest: object
) -> ManifestChange:
    by_osm = False

    def injection_of(pod: Pod) -> Injection | str:
        nonlocal by_osm
        mesh = finder.mesh_of(pod)
        if isinstance(mesh, NoMesh):
            refused = replace(injection_for(options, MESHES["none"]), refusal=mesh.reason)
            return mesh.reason if mesh.is_wanted else refused
        by_osm |= mesh.injector
        return replace(injection_for(options, mesh), refusal=_problem(options, mesh))

    finder.remember_namespaces(manifest)
    changed = inject_each(manifest, __version__, injection_of)
    if not by_osm:
        return changed
    note = FieldWarning("osm-healthcheck inject", _OSM.format(image=options.image), is_general=True)
    return replace(changed, warnings=(note, *changed.warnings))


def _problem(options: argparse.Namespace, mesh: Mesh) -> str:
    """Which option does not go together with ``mesh``, and why; empty where all do.

    Whom to answer is said to our sidecar: who else answers must not seem to be told.
    """
    if options.allow_from and mesh.injector:
        return (
            f"--allow-from with --mesh {mesh.name}: the mesh's own injector adds the sidecar, and "
            "nothing here could tell it"
        )
    if problem := option_problem(options, mesh):
        return problem
    leaves = options.proxy == "node" and options.node_fallback == "leave"
    if leaves and (reason := mesh.why_not_by_node(init=options.init)):
        return (
            f"--proxy node: {reason}: choose another --mesh, --no-init where something else does "
            "it (osm-healthcheck node --bypass), or --node-fallback sidecar"
        )
    return ""


def _parser() -> argparse.ArgumentParser:
    parser = parser_for("inject", _WHAT, _EPILOG, objects=True)
    add = parser.add_argument
    add_sources(parser)
    add_output_options(parser)
    add_quiet(parser)
    add(
        "--mesh",
        choices=(_AUTO, *MESHES),
        default=_AUTO,
        help="the mesh whose annotations keep its redirect off our ports; auto (the default): the "
        "one that shows on the pod, or on its Namespace earlier in the input; none: an init "
        "container with NET_ADMIN does that",
    )
    add_injection_options(parser, ("sidecar", "mesh", "node"))
    add_cluster_options(parser)
    return parser
