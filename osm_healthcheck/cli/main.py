"""``osm-healthcheck [COMMAND] …``; without a command it is ``serve``, as OSM's daemon was."""

import contextlib
import importlib
import io
import os
import signal
import sys
from collections.abc import Callable, Sequence

from osm_healthcheck import __version__
from osm_healthcheck.cli.commands import COMMANDS, OTHERS, module_of
from osm_healthcheck.probes.quote import quoted

_USAGE = """\
usage: osm-healthcheck [COMMAND] [OPTION ...]

Kubernetes health probes that tell the truth inside a service mesh.

commands:
{commands}

Without a command it is serve, but with nothing at all on a terminal this text.
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command and exit: 0, 1 where the answer is no, 2 for a usage or input that is wrong."""
    _open_standard_streams()
    try:
        sys.exit(_run(list(sys.argv[1:] if argv is None else argv)))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def _run(arguments: list[str]) -> int:
    if "_ARGCOMPLETE" in os.environ:
        return _complete()
    name = arguments[0] if arguments else ""
    if name == "help" and arguments[1:]:
        arguments = [arguments[1], "--help"]
        name = arguments[0]
    if name in ("version", "--version"):
        return _version(arguments[1:])
    if name in ("help", "--help", "-h") or (not arguments and _is_a_person()):
        listed = (COMMANDS | OTHERS).items()
        commands = "\n".join(f"  {command:<12} {what}" for command, what in listed)
        return _say(_USAGE.format(commands=commands))
    later = next((one for one in arguments if one in COMMANDS), "")
    if name.startswith("-") and later:
        print(f"osm-healthcheck: the command comes first: {later}, then {name}", file=sys.stderr)
        return 2
    if name.startswith("-") or not name:
        name = "serve"
    elif name in COMMANDS:
        del arguments[0]
    else:
        print(f"osm-healthcheck: no command {quoted(name)}; {_suggestion(name)}", file=sys.stderr)
        return 2
    try:
        command = importlib.import_module(module_of(name))
        return _run_command(command.run, arguments)
    except ModuleNotFoundError as error:
        if error.name != "yaml":
            raise
        print(f"osm-healthcheck: {name} needs PyYAML, which is not installed", file=sys.stderr)
        return 2


def _run_command(run: Callable[[list[str]], int], arguments: list[str]) -> int:
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    if not {"-h", "--help"} & {*options}:
        return run(arguments)
    text = io.StringIO()  # argparse itself ignores that its help cannot be written
    with contextlib.redirect_stdout(text):
        try:
            code = run(arguments)
        except SystemExit as ended:
            code = int(ended.code or 0)
    return _say(text.getvalue()) or code


def _complete() -> int:
    from osm_healthcheck.cli.completion import answer_shell

    return answer_shell([*COMMANDS, *OTHERS])


def _is_a_person() -> bool:
    """Whether nobody can have meant the sidecar: both ends are terminals, and nothing is set.

    In a container it is process 1, or has its settings in the environment. kubectl starts none.
    """
    return sys.argv[0].rpartition("/")[2].startswith("kubectl-") or (
        sys.stdin.isatty()
        and sys.stdout.isatty()
        and os.getpid() != 1
        and not any(
            name.startswith("OSM_HEALTHCHECK_") and name != "OSM_HEALTHCHECK_IMAGE"  # of inject
            for name in os.environ
        )
    )


def _version(arguments: list[str]) -> int:
    if not arguments:
        return _say(f"osm-healthcheck {__version__}\n")
    if arguments in (["-o", "json"], ["--output", "json"], ["-ojson"], ["--output=json"]):
        return _say(f'{{"version": "{__version__}", "python": "{sys.version.split()[0]}"}}\n')
    usage = "usage: osm-healthcheck version [-o json]"
    if arguments in (["-h"], ["--help"]):
        return _say(f"{usage}\n")
    print(usage, file=sys.stderr)
    return 2


def _suggestion(name: str) -> str:
    import difflib

    if close := difflib.get_close_matches(name, [*COMMANDS, *OTHERS], n=1):
        return f"did you mean {close[0]}?"
    return f"commands are {', '.join((*COMMANDS, *OTHERS))}"


def _say(text: str) -> int:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        # what is still buffered has nowhere to go: not even at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return 128 + signal.SIGPIPE
        print(f"osm-healthcheck: cannot write: {error.strerror}", file=sys.stderr)
        return 2
    return 0


def _open_standard_streams() -> None:
    """Give a process that was started without them its standard streams, with nothing behind them.

    Otherwise its next file or socket becomes one, which the event loop does not survive. What is
    written to standard output then fails: it has nowhere to go.
    """
    for fd, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(fd)
        except OSError:
            access = os.O_RDONLY if name == "stdout" else os.O_RDWR
            os.open(os.devnull, access)  # the lowest free number is this one
            setattr(sys, name, open(fd, mode))  # noqa: PTH123, SIM115
