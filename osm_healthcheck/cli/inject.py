"""``osm-healthcheck inject``: rewrite the probes in manifests and add what answers them."""

import argparse
import re
import sys
from collections.abc import Sequence
from functools import partial

from osm_healthcheck import __version__
from osm_healthcheck.cli.arguments import guarded, parser_for
from osm_healthcheck.cli.files import STDIN, rewrite
from osm_healthcheck.injection.containers import DEFAULT_USER, Images
from osm_healthcheck.injection.inject import Injection, inject
from osm_healthcheck.mesh.annotations import MESHES
from osm_healthcheck.probes.quote import quoted

_IMAGE = "openservicemesh/osm-healthcheck"
_INIT_IMAGE = "openservicemesh/osm-healthcheck-init"
_WHAT = """\
Rewrite the probes in Kubernetes manifests so that they work in a service mesh, and add
the container that answers them. Injecting twice changes nothing; uninject takes it back.
Nothing is written unless every document is good.
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


def run(argv: Sequence[str]) -> int:
    """Run the command; 0, or 2 for bad input."""
    parser = _parser()
    options = parser.parse_args(argv)
    if options.in_place and STDIN in options.files:
        parser.error("--in-place needs files, not the standard input")
    if options.in_place and options.output:
        parser.error("--in-place keeps the format of a file: leave -o out")
    mesh = MESHES[options.mesh]
    if options.run_as_user == mesh.proxy_user:
        parser.error(
            f"--run-as-user {mesh.proxy_user} is the user of the mesh's proxy: take another one"
        )
    injection = Injection(
        mesh=mesh,
        images=Images(options.image, options.init_image, options.image_pull_policy or ""),
        version=__version__,
        sidecar=options.sidecar,
        https=options.https,
        proxy=options.proxy,
        user=options.run_as_user,
        init=options.init,
        hooks=options.lifecycle_hooks,
    )
    if mesh.injector:
        print(_OSM.format(image=options.image), file=sys.stderr)
    change = partial(inject, injection=injection)
    return guarded(
        lambda: rewrite("inject", options.files, change, options.output, in_place=options.in_place)
    )


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
    add(
        "--sidecar",
        choices=("native", "container"),
        default="native",
        help="native: an init container that keeps running (Kubernetes 1.29 and newer, the "
        "default); container: an ordinary one",
    )
    add(
        "--https",
        choices=("passthrough", "request"),
        default="passthrough",
        help="passthrough: the kubelet's TLS goes through to the app, where one container has "
        "an HTTPS probe of a kind (the default); request: the sidecar makes the request",
    )
    add(
        "--proxy",
        choices=("sidecar", "mesh"),
        default="sidecar",
        help="who answers on 15901-15903: our sidecar (the default), or the mesh's proxy, by "
        "the configuration that render writes; then the sidecar is for tcpSocket and grpc alone",
    )
    add(
        "--lifecycle-hooks",
        choices=("rewrite", "leave"),
        default="leave",
        help="httpGet hooks (postStart, preStop): rewrite has the sidecar make the request; leave "
        "(the default) leaves them to meet the mesh",
    )
    add("--image", type=_image, default=_image(_IMAGE), help=f"default: {_image(_IMAGE)}")
    add(
        "--init-image",
        type=_image,
        default=_image(_INIT_IMAGE),
        help=f"default: {_image(_INIT_IMAGE)}; where a tag is left out, it is {__version__}",
    )
    add(
        "--image-pull-policy",
        choices=("Always", "IfNotPresent", "Never"),
        help="default: the cluster's",
    )
    add(
        "--run-as-user",
        type=_user,
        default=DEFAULT_USER,
        metavar="UID|none",
        help=f"the sidecar's user (default {DEFAULT_USER}); none leaves it to the cluster",
    )
    add(
        "--no-init",
        dest="init",
        action="store_false",
        help="no init container: something else keeps the redirect off our ports",
    )
    return parser


def _image(text: str) -> str:
    """An image with a tag or digest; one without either gets our version as its tag."""
    if not re.fullmatch(r"[^\s:@/][^\s]*", text):
        raise argparse.ArgumentTypeError(f"not the name of an image: {quoted(text)}")
    if "@" in text or ":" in text.rpartition("/")[2]:
        return text
    return f"{text}:{__version__}"


def _user(text: str) -> int | None:
    if text == "none":
        return None
    if text.isascii() and text.isdigit() and 0 < int(text) < 2**31:
        return int(text)
    raise argparse.ArgumentTypeError(
        f"must be a user's number, not root's 0, or none: not {quoted(text)}"
    )
