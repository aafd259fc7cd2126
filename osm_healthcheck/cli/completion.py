"""``osm-healthcheck completion``: completions for shells, by argcomplete.

A shell asks by running the command once more, with ``_ARGCOMPLETE`` set; kubectl, which has a
protocol of its own, by ``kubectl_complete-osm_healthcheck``.
"""

import argparse
import contextlib
import importlib
import io
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn, TextIO

from osm_healthcheck.cli.arguments import command_parser, guarded
from osm_healthcheck.cli.commands import COMMANDS, OTHERS, module_of

_SHELLS = ("bash", "zsh", "fish")
_WHAT = """\
Print the script that lets a shell complete this command and its options.
"""
_EPILOG = """\
bash: source <(osm-healthcheck completion bash)
zsh:  source <(osm-healthcheck completion zsh)
fish: osm-healthcheck completion fish | source

kubectl completes kubectl osm-healthcheck by itself, where kubectl's own completion is set up.
"""
_MISSING = (
    "osm-healthcheck completion: takes argcomplete, which is not installed: pip install "
    "'.[completion]' in a clone of the repository"
)
# What comes first where a command has no parser before it knows more.
_FIRST_WORDS = {"render": ("envoy", "pipy"), "version": ("-o",)}
# kubernetes-client: cobra's ShellCompDirectiveNoSpace and ShellCompDirectiveNoFileComp
_NO_SPACE, _NO_FILES = 2, 4


def run(argv: Sequence[str]) -> int:
    """Run the command; 0, or 2 where argcomplete is missing."""
    parser = command_parser("completion", _WHAT, _EPILOG)
    parser.add_argument("shell", choices=_SHELLS, help="for which shell")
    shell = parser.parse_args(argv).shell
    try:
        import argcomplete
    except ModuleNotFoundError:
        print(_MISSING, file=sys.stderr)
        return 2
    script = argcomplete.shellcode(["osm-healthcheck"], shell=shell)
    return guarded(lambda: print(script) or 0)


def answer_shell(commands: Sequence[str]) -> int:
    """Answer a shell, which has set argcomplete's variables and reads descriptor 8."""
    line, point = os.environ["COMP_LINE"], int(os.environ["COMP_POINT"])
    with contextlib.suppress(ModuleNotFoundError):
        _answer(_words(line[:point]), commands, None, os._exit)
    return 1


def kubectl() -> NoReturn:
    """The program ``kubectl_complete-osm_healthcheck``: candidates, and cobra's directive."""
    words = ["osm-healthcheck", *sys.argv[1:]]
    *before, last = words if len(words) > 1 else [*words, ""]
    line = f"{shlex.join(before)} {last}"
    told = {"COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_IFS": "\n"}
    os.environ.update(told | {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_SHELL": "fish"})
    stdout, found = sys.stdout, io.StringIO()
    with contextlib.suppress(ModuleNotFoundError, _Answered), contextlib.redirect_stdout(found):
        _answer([*before, last], [*COMMANDS, *OTHERS], io_answer := io.StringIO(), _raise_answered)
    candidates = io_answer.getvalue().split()
    spaced = not any(one.endswith(("/", "=")) for one in candidates)
    print("\n".join([*candidates, f":{_NO_FILES + _NO_SPACE * (not spaced)}"]), file=stdout)
    sys.exit(0)


class _Answered(BaseException):
    """Ends a command once its parser has answered."""


def _raise_answered(_: int) -> NoReturn:
    raise _Answered


def _words(text: str) -> list[str]:
    """The words of a command line, the one at its end, which may be empty, included."""
    try:
        words = shlex.split(text)
    except ValueError:  # a quote that is open yet
        words = text.split()
    return [*words, ""] if text[-1:].isspace() else words


def _answer(
    words: Sequence[str],
    commands: Sequence[str],
    stream: TextIO | None,
    end: Callable[[int], object],
) -> None:
    """Have the parser that ``words`` lead to answer, and ``end`` with it."""
    from argcomplete import CompletionFinder

    def answer(parser: argparse.ArgumentParser, *_: object) -> None:
        CompletionFinder()(
            parser, always_complete_options=False, exit_method=end, output_stream=stream
        )

    _, *rest = words
    depth = 1 if len(rest) > 1 and rest[0] in commands else 0
    name = rest[0] if depth else ""
    first = _FIRST_WORDS.get(name, ()) if len(rest) == depth + 1 else ()
    if name == "help" or not depth:
        first = tuple(commands)
    if first:
        parser = argparse.ArgumentParser(add_help=False)
        parser.add_argument("first", choices=first)
    os.environ["_ARGCOMPLETE"] = str(1 + depth + (name == "render" and not first))
    if first:
        answer(parser)
    # The parser is made in the midst of the command. Here it is asked what it takes; nothing in
    # this process, which ends with the answer, is parsed any more.
    argparse.ArgumentParser.parse_args = answer  # type: ignore[method-assign,assignment]
    # serve starts without a parser where it needs none: --help takes one.
    importlib.import_module(module_of(name)).run([*rest[depth:-1], "--help"])
