"""``osm-healthcheck inject``: rewrite the probes in manifests and add what answers them."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial

from osm_healthcheck.cli.arguments import guarded, parser_for
from osm_healthcheck.cli.files import STDIN, rewrite
from osm_healthcheck.cli.injection_options import add_injection_options, read_injection
from osm_healthcheck.injection.inject import inject
from osm_healthcheck.injection.mesh import Mesh
from osm_healthcheck.mesh.annotations import MESHES

_WHAT = """\
Rewrite the probes in Kubernetes manifests so that they work in a service mesh, and add
the container that answers them. Injecting twice with the same options changes
nothing; uninject takes it back. Nothing is written unless every document is good.
"""
_EPILOG = """\
example: kubectl get deploy -o yaml | osm-healthcheck inject --mesh istio - | kubectl apply -f -

A pod is left alone with the annotation healthcheck.openservicemesh.io/inject: disabled, a
container with its name in healthcheck.openservicemesh.io/skip-containers: a,b.
"""
_OSM = (
    "osm-healthcheck inject: with --mesh osm nothing is rewritten: OSM's own injector does it. "
    "Hand it this image: OSM_DEFAULT_HEALTHCHECK_CONTAINER_IMAGE={image} in the environment of "
    "the deployment osm-injector (in Helm osm.image.name.osmHealthcheck is its name; registry "
    "and tag are those of all of OSM's images)"
)
_ALLOW_FROM_PROXY = (
    "osm-healthcheck inject: with --proxy mesh, --allow-from holds for the sidecar's port 15904 "
    "alone: on 15901-15903 the mesh's proxy answers everyone"
)


def run(argv: Sequence[str]) -> int:
    """Run the command; 0, or 2 for bad input."""
    parser = _parser()
    options = parser.parse_args(argv)
    if options.in_place and STDIN in options.files:
        parser.error("--in-place needs files, not the standard input")
    if options.in_place and options.output:
        parser.error("--in-place keeps the format of a file: leave -o out")
    mesh = MESHES[options.mesh]
    if options.allow_from:
        _check_allow_from(parser, mesh, options)
    injection = read_injection(parser, options, mesh)
    leaves = options.proxy == "node" and options.node_fallback == "leave"
    if leaves and (reason := mesh.why_not_by_node(init=options.init)):
        parser.error(
            f"--proxy node: {reason}: choose another --mesh, --no-init where something else does "
            "it, or --node-fallback sidecar"
        )
    if mesh.injector:
        print(_OSM.format(image=options.image), file=sys.stderr)
    change = partial(inject, injection=injection)
    return guarded(
        lambda: rewrite("inject", options.files, change, options.output, in_place=options.in_place)
    )


def _check_allow_from(
    parser: argparse.ArgumentParser, mesh: Mesh, options: argparse.Namespace
) -> None:
    """Whom to answer is said to our sidecar: who else answers must not seem to be told."""
    if mesh.injector:
        parser.error(
            f"--allow-from with --mesh {mesh.name}: the mesh's own injector adds the sidecar, and "
            "nothing here could tell it"
        )
    if options.proxy == "mesh":
        print(_ALLOW_FROM_PROXY, file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = parser_for("inject", _WHAT, _EPILOG)
    add = parser.add_argument
    add("-o", "--output", choices=("yaml", "json"), help="the format (default: as the input)")
    add("--in-place", action="store_true", help="replace the files, all of them or none")
    add(
        "--mesh",
        choices=tuple(MESHES),
        default="none",
        help="the mesh whose annotations keep its redirect off our ports; with none (the "
        "default) an init container does that",
    )
    add_injection_options(parser, ("sidecar", "mesh", "node"))
    return parser
