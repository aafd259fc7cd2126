"""``osm-healthcheck render``: the configuration of a mesh's proxy that serves a pod's probes."""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from functools import partial

from osm_healthcheck import __version__
from osm_healthcheck.cli.arguments import guarded, parser_for
from osm_healthcheck.cli.files import ManifestReader, named
from osm_healthcheck.cli.sources import add_sources, read_sources, sources_of
from osm_healthcheck.errors import FieldError, Validation
from osm_healthcheck.injection.opt_out import reason_to_skip
from osm_healthcheck.injection.original import OriginalProbe, original_probes
from osm_healthcheck.injection.pods import Manifest, Pod
from osm_healthcheck.injection.rewrite import HTTPSMode
from osm_healthcheck.injection.uninject import uninjected_pods
from osm_healthcheck.manifests.block import Style
from osm_healthcheck.mesh.envoy import envoy_bootstrap, envoy_resources
from osm_healthcheck.mesh.pipy import pipy_config
from osm_healthcheck.probes.quote import printable, quoted

_WHAT = {
    "envoy": "Print the Envoy clusters and listeners that serve a pod's HTTP and HTTPS probes.",
    "pipy": "Print osm-edge's Probes configuration for a pod.",
}
_USAGE = """\
usage: osm-healthcheck render {envoy,pipy} [OPTION ...] [FILE ...]

Print what a mesh's proxy needs to serve the HTTP and HTTPS probes of a pod on 15901-15903:
envoy   clusters and listeners, --bootstrap: a whole configuration
pipy    osm-edge's Probes

Inject with --proxy mesh goes with it. The manifest may be injected already or not; a pod that
inject leaves alone is left out.
"""


def run(argv: Sequence[str]) -> int:
    """Run the command; 0, or 2 for bad input."""
    if argv and argv[0] in ("-h", "--help"):
        print(_USAGE, end="")
        return 0
    if not argv or argv[0] not in _WHAT:
        problem = f"no proxy {quoted(argv[0])} is known" if argv else "the proxy is missing"
        print(_USAGE, file=sys.stderr)
        print(
            f"osm-healthcheck render: {problem}: {' or '.join(_WHAT)} comes first", file=sys.stderr
        )
        return 2
    proxy = argv[0]
    parser = parser_for(f"render {proxy}", _WHAT[proxy])
    add_sources(parser)
    parser.add_argument(
        "-o",
        "--output",
        choices=("yaml", "json"),
        default="yaml" if proxy == "envoy" else "json",
        help="the format (default: %(default)s)",
    )
    parser.add_argument(
        "--https",
        choices=("passthrough", "request"),
        default="passthrough",
        help="as inject was told (default: %(default)s)",
    )
    if proxy == "envoy":
        parser.add_argument(
            "--bootstrap",
            action="store_true",
            help="a whole configuration for one pod, with which Envoy starts",
        )
    options = parser.parse_args(argv[1:])
    return guarded(partial(_render, proxy, options))


def _render(proxy: str, options: argparse.Namespace) -> int:
    reader = ManifestReader(f"render {proxy}")
    found = _read_pods(reader, sources_of(options))
    if not reader.validation.errors and not found:
        reader.validation.error(named(read_sources(options)), "there is no pod in it")
    pods = [(pod, probes) for pod, probes in found if probes is not None]
    bootstrap = getattr(options, "bootstrap", False)
    if bootstrap and len(pods) > 1:
        names = ", ".join(pod.where for pod, _ in pods)
        reader.validation.error("--bootstrap", f"is for one pod, here are {len(pods)}: {names}")
    if not reader.finish("nothing was rendered"):
        return 2
    for number, (pod, probes) in enumerate(pods):
        config = _config(reader, proxy, pod, probes, options.https)
        config = envoy_bootstrap(config) if bootstrap else config
        if options.output == "json":
            print(json.dumps(config, indent=2, ensure_ascii=False))
            continue
        separator = "---\n" if number else ""
        print(f"{separator}# {printable(pod.where)}\n{Style().mapping(config, 0)}")
    return 0


def _config(
    reader: ManifestReader, proxy: str, pod: Pod, probes: list[OriginalProbe], https: HTTPSMode
) -> Manifest:
    if not any(probe.scheme for probe in probes):
        reader.say(f"{pod.where}: has no HTTP or HTTPS probe for the proxy to serve")
    if proxy == "envoy":
        return envoy_resources(probes, https)
    kinds = [probe.kind for probe in probes if probe.scheme]
    for kind in sorted({kind for kind in kinds if kinds.count(kind) > 1}):
        reader.say(f"{pod.where}: warning: of several {kind.value} probes Pipy serves the first")
    return pipy_config(probes, https)


def _read_pods(
    reader: ManifestReader, sources: Iterable[str | FieldError]
) -> list[tuple[Pod, list[OriginalProbe] | None]]:
    """The pods and their probes; ``None`` for the probes of a pod that inject leaves alone."""
    pods = []
    for path, document in reader.read(sources):
        validation = Validation()
        undone = uninjected_pods(document.value, __version__, validation)
        found = [(pod, _probes_of(pod, validation)) for pod in undone]
        if validation.errors:
            reader.refuse(path, document, validation)
            continue
        reader.warn(path, document, validation.warnings)
        pods += found
    return pods


def _probes_of(pod: Pod, validation: Validation) -> list[OriginalProbe] | None:
    if reason := reason_to_skip(pod, validation):
        validation.warn(pod.where, f"left alone: {reason}")
        return None
    return original_probes(pod, validation)
