"""``osm-healthcheck uninject``: give back the manifests that were injected."""

from collections.abc import Sequence
from functools import partial

from osm_healthcheck import __version__
from osm_healthcheck.cli.arguments import guarded, parser_for
from osm_healthcheck.cli.files import STDIN, rewrite
from osm_healthcheck.injection.uninject import uninject

_WHAT = """\
Give back the original of manifests that were injected: their probes restored, what was
added taken away. What others have changed since stays, but for what a rewritten probe asks:
such an edit is lost, and named on stderr. Nothing is written unless every document is good.
"""


def run(argv: Sequence[str]) -> int:
    """Run the command; 0, or 2 for bad input."""
    parser = parser_for("uninject", _WHAT)
    parser.add_argument(
        "-o", "--output", choices=("yaml", "json"), help="the format (default: as the input)"
    )
    parser.add_argument(
        "--in-place", action="store_true", help="replace the files, all of them or none"
    )
    options = parser.parse_args(argv)
    if options.in_place and STDIN in options.files:
        parser.error("--in-place needs files, not the standard input")
    if options.in_place and options.output:
        parser.error("--in-place keeps the format of a file: leave -o out")
    change = partial(uninject, version=__version__)
    return guarded(
        lambda: rewrite(
            "uninject", options.files, change, options.output, in_place=options.in_place
        )
    )
