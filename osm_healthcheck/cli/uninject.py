"""``osm-healthcheck uninject``: give back the manifests that were injected."""

from collections.abc import Sequence
from functools import partial

from osm_healthcheck import __version__
from osm_healthcheck.cli.arguments import guarded, parser_for
from osm_healthcheck.cli.files import rewrite
from osm_healthcheck.cli.inject_report import UninjectReport
from osm_healthcheck.cli.output_options import add_output_options, add_quiet, read_sink
from osm_healthcheck.cli.sources import add_sources, sources_of
from osm_healthcheck.injection.uninject import uninject

_WHAT = """\
Give back the original of manifests that were injected: their probes restored, what was
added taken away. What others have changed since stays, but for what a rewritten probe asks:
such an edit is lost, and named on stderr. Nothing is written unless every document is good.
"""
_EPILOG = """\
Exit code: 0; with --diff 0 where nothing would change and 1 where something would; 2 for bad
input.
"""


def run(argv: Sequence[str]) -> int:
    """Run the command; 0, with ``--diff`` 1 where something would change, 2 for bad input."""
    parser = parser_for("uninject", _WHAT, _EPILOG)
    add_sources(parser)
    add_output_options(parser)
    add_quiet(parser)
    options = parser.parse_args(argv)
    sink = read_sink(parser, options)
    change = partial(uninject, version=__version__)
    sources = list(sources_of(options))
    report = None
    if not options.quiet:
        report = UninjectReport(names_files=len(sources) > 1, is_diff=options.diff)
    return guarded(lambda: rewrite("uninject", sources, change, sink, options.output, report))
