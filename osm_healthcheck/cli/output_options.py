"""Where changed manifests go, as ``inject`` and ``uninject`` are told."""

import argparse

from osm_healthcheck.cli.diff_output import Diff
from osm_healthcheck.cli.files import Sink
from osm_healthcheck.cli.output import InPlace, Output
from osm_healthcheck.cli.sources import STDIN, is_url, read_sources


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that ``read_sink`` reads."""
    add = parser.add_argument
    add("-o", "--output", choices=("yaml", "json"), help="the format (default: as the input)")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--in-place", action="store_true", help="replace the files, all of them or none"
    )
    where.add_argument(
        "--diff", action="store_true", help="print what would change, as a unified diff"
    )


def add_quiet(parser: argparse.ArgumentParser) -> None:
    """Add the option ``quiet``."""
    what = "say nothing of what was done to each resource"
    parser.add_argument("-q", "--quiet", action="store_true", help=what)


def read_sink(parser: argparse.ArgumentParser, options: argparse.Namespace) -> Sink:
    """Where the output goes; options that contradict each other end the process with 2."""
    if options.diff and options.output:
        parser.error("--diff is in the format of the input: leave -o out")
    if options.in_place and options.output:
        parser.error("--in-place keeps the format of a file: leave -o out")
    if options.in_place and any(one == STDIN or is_url(one) for one in read_sources(options)):
        parser.error("--in-place needs files, not the standard input or a URL")
    if options.diff:
        return Diff()
    return InPlace() if options.in_place else Output()
