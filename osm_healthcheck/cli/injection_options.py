"""The options that say how pods are injected, for the commands that inject."""

import argparse
import os
from collections.abc import Sequence
from decimal import Decimal
from typing import cast

from osm_healthcheck import __version__
from osm_healthcheck.cli.numbers import whole_number
from osm_healthcheck.injection.containers import DEFAULT_USER, Images
from osm_healthcheck.injection.image import image_problem, split_tag
from osm_healthcheck.injection.inject import Injection
from osm_healthcheck.injection.mesh import Mesh
from osm_healthcheck.injection.quantity import quantity
from osm_healthcheck.injection.resources import DEFAULT_RESOURCES, LEAST_MEMORY, Resources
from osm_healthcheck.probes.addresses import AllowFrom
from osm_healthcheck.probes.quote import quoted

_IMAGE = "osm-healthcheck"
IMAGE_VARIABLE = "OSM_HEALTHCHECK_IMAGE"


_PROXIES = {
    "sidecar": "our sidecar (the default)",
    "mesh": "the mesh's proxy, by the configuration that render writes: then the sidecar is for "
    "tcpSocket and grpc alone",
    "node": "osm-healthcheck node, and then nothing is added to the pod",
}


def add_injection_options(parser: argparse.ArgumentParser, proxies: Sequence[str]) -> None:
    """Add the options that `read_injection` reads; ``proxies`` are what may answer."""
    add = parser.add_argument
    add(
        "--proxy",
        choices=proxies,
        default="sidecar",
        help="who answers on 15901-15903: " + "; ".join(_PROXIES[one] for one in proxies),
    )
    add(
        "--node-fallback",
        choices=("leave", "sidecar"),
        default="leave",
        help="with --proxy node, what becomes of pods that it cannot serve (Kata and gVisor by "
        "runtimeClassName, Consul's, those that need an init container): leave them alone (the "
        "default), or add a sidecar",
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
        "--lifecycle-hooks",
        choices=("rewrite", "leave"),
        default="rewrite",
        help="httpGet hooks (postStart, preStop): rewrite has the sidecar make the request (the "
        "default); leave leaves them to meet the mesh",
    )
    add(
        "--allow-from",
        type=_allow_from,
        metavar="CIDR,…",
        help="the sidecar answers only callers from these networks: the nodes' addresses, from "
        "which the kubelet asks, must be among them (default: everyone)",
    )
    add(
        "--scrape-annotations",
        action="store_true",
        help="add prometheus.io/scrape, port and path to the pod, for the sidecar's /metrics; not "
        "where it has one of that prefix",
    )
    add(
        "--image",
        type=_image,
        default=os.environ.get(IMAGE_VARIABLE) or _IMAGE,
        help=f"the sidecar's (default: {IMAGE_VARIABLE} in the environment, or {_IMAGE}); where a "
        f"tag is left out, it is {__version__}",
    )
    add(
        "--init-image",
        type=_image,
        help="default: that of --image with -init behind the name, as "
        f"{_derived_init_image(_image(_IMAGE))}",
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
        "--cpu",
        type=_cpu,
        default=DEFAULT_RESOURCES.cpu,
        metavar="QUANTITY",
        help=f"what each of our containers requests (default {DEFAULT_RESOURCES.cpu}, at most "
        "1); in a Guaranteed pod it is the limit too, and at least 100m",
    )
    add(
        "--memory",
        type=_memory,
        default=DEFAULT_RESOURCES.memory,
        metavar="QUANTITY",
        help=f"request and limit of each (default {DEFAULT_RESOURCES.memory}, at least "
        f"{LEAST_MEMORY})",
    )
    add(
        "--no-init",
        dest="init",
        action="store_false",
        help="no init container: something else keeps the redirect off our ports",
    )


def read_injection(
    parser: argparse.ArgumentParser, options: argparse.Namespace, mesh: Mesh
) -> Injection:
    """How to inject for ``mesh``; a contradiction ends the process by ``parser.error``."""
    if problem := option_problem(options, mesh):
        parser.error(problem)
    return injection_for(options, mesh)


def option_problem(options: argparse.Namespace, mesh: Mesh) -> str:
    """Which option does not go together with ``mesh``, and why; empty where all do."""
    if options.run_as_user == mesh.proxy_user:
        return f"--run-as-user {mesh.proxy_user} is the user of the mesh's proxy: take another one"
    if options.allow_from and options.proxy == "node" and options.node_fallback == "leave":
        return (
            "--allow-from with --proxy node: no sidecar is added that could be told; it is an "
            "option of osm-healthcheck node"
        )
    with_init = options.init and not mesh.ports and not mesh.injector
    if with_init and options.init_image is None and not _derived_init_image(options.image):
        return (
            f"--image {options.image} is a digest, from which the init container's image does not "
            "follow: name that with --init-image"
        )
    return ""


def injection_for(options: argparse.Namespace, mesh: Mesh) -> Injection:
    """How to inject for ``mesh``, by the options."""
    return Injection(
        mesh=mesh,
        images=Images(
            options.image,
            options.init_image or _derived_init_image(options.image),
            options.image_pull_policy or "",
        ),
        version=__version__,
        sidecar=options.sidecar,
        https=options.https,
        proxy=options.proxy,
        node_fallback=options.node_fallback,
        user=options.run_as_user,
        init=options.init,
        hooks=options.lifecycle_hooks,
        allow_from=options.allow_from or "",
        scrape_annotations=options.scrape_annotations,
        resources=Resources(options.cpu, options.memory),
    )


def _image(text: str) -> str:
    """An image with a tag or digest: ours is the tag where there is none."""
    if problem := image_problem(text):
        raise argparse.ArgumentTypeError(f"not the name of an image: {quoted(text)}: {problem}")
    if "@" in text or split_tag(text)[1] is not None:
        return text
    return f"{text}:{__version__}"


def _derived_init_image(image: str) -> str:
    """The init container's image beside the sidecar's ``image``; empty where that is a digest."""
    name, colon, tag = image.rpartition(":")
    return "" if "@" in image else f"{name}-init{colon}{tag}"


def _allow_from(text: str) -> str:
    """The networks as the sidecar is told them, which reads them by the same parser."""
    try:
        AllowFrom.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return ",".join(part.strip() for part in text.split(","))


def _cpu(text: str) -> str:
    if not 0 < _quantity(text) <= 1:
        raise argparse.ArgumentTypeError(
            "must be more than 0 and at most 1, which is all that a process of one thread uses: "
            f"10m is a hundredth: not {quoted(text)}"
        )
    return text


def _memory(text: str) -> str:
    if _quantity(text) < cast("Decimal", quantity(LEAST_MEMORY)):
        raise argparse.ArgumentTypeError(
            f"must be at least {LEAST_MEMORY}, less than which the sidecar does not start with: "
            f"not {quoted(text)}"
        )
    return text


def _quantity(text: str) -> Decimal:
    if (value := quantity(text)) is None:
        raise argparse.ArgumentTypeError(
            f"must be a quantity, such as 10m or 64Mi: not {quoted(text)}"
        )
    return value


def _user(text: str) -> int | None:
    if text == "none":
        return None
    if (user := whole_number(text, 1, 2**31 - 1)) is None:
        raise argparse.ArgumentTypeError(
            f"must be a user's number, not root's 0, or none: not {quoted(text)}"
        )
    return user
