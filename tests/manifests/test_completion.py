"""Completion in real shells, and as kubectl asks for it."""

import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("argcomplete")
_ASKED = {
    "osm-healthcheck ver": {"verify", "version"},
    "osm-healthcheck verify --fa": {"--failed"},
    "osm-healthcheck inject --mesh ist": {"istio"},
    "osm-healthcheck render ": {"envoy", "pipy"},
    "osm-healthcheck render envoy --boot": {"--bootstrap"},
    "osm-healthcheck serve --allow-f": {"--allow-from"},
    "osm-healthcheck help com": {"completion"},
    "osm-healthcheck node-sockets --byp": {"--bypass"},
}
_BASH = """\
source <(osm-healthcheck completion bash)
for COMP_LINE; do
  COMP_POINT=${#COMP_LINE} COMP_TYPE=9 COMPREPLY=()
  read -r -a COMP_WORDS <<<"$COMP_LINE"
  [[ $COMP_LINE == *' ' ]] && COMP_WORDS+=('')
  COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
  _python_argcomplete osm-healthcheck 2>/dev/null
  printf '%s\\n' "${COMPREPLY[@]}" ---
done
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in whose PATH the three programs are."""
    folder = tmp_path_factory.mktemp("bin")
    kubectl = "from osm_healthcheck.cli.completion import kubectl; kubectl()"
    for name, arguments in (
        ("osm-healthcheck", "-m osm_healthcheck"),
        ("kubectl-osm_healthcheck", "-m osm_healthcheck"),
        ("kubectl_complete-osm_healthcheck", f"-c '{kubectl}'"),
    ):
        program = folder / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {arguments} "$@"\n')
        program.chmod(0o755)
    root = Path(__file__).parents[2]
    return {
        **os.environ,
        "PATH": f"{folder}:{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(root), *sys.path]),
        "HOME": str(folder),
        "KUBECONFIG": "/none",
    }


def _lines(argv: list[str], environment: dict[str, str]) -> set[str]:
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr
    return {line.split("\t")[0].strip() for line in done.stdout.splitlines() if line.strip()}


def test_bash(path: dict[str, str]) -> None:
    _check(["bash", "--norc", "-c", _BASH, "bash", *_ASKED], path)


@pytest.mark.skipif(not shutil.which("fish"), reason="fish is not installed")
def test_fish(path: dict[str, str]) -> None:
    asked = "".join(f"complete -C '{line}'; echo ---\n" for line in _ASKED)
    script = f"osm-healthcheck completion fish | source\n{asked}"
    _check(["fish", "--no-config", "-c", script], path)


def _check(argv: list[str], environment: dict[str, str]) -> None:
    """A shell prints what it completes each line to, and a line of its own between."""
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60)
    *parts, _ = done.stdout.split("---\n")
    found = [{one.split("\t")[0].strip() for one in part.splitlines()} for part in parts]
    assert found == list(_ASKED.values()), done.stderr


@pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not installed")
def test_zsh(path: dict[str, str]) -> None:
    child, terminal = pty.fork()
    if child == 0:
        os.execvpe("zsh", ["zsh", "-f", "-i"], path)
    try:
        setup = (
            b"autoload -Uz compinit is-at-least && compinit -u -D; "
            b"source <(osm-healthcheck completion zsh); print rea'dy'\n"
        )
        _say(terminal, setup, "ready")
        _say(terminal, b"osm-healthcheck verify --fai\t", "--failed")
    finally:
        os.close(terminal)
        os.waitpid(child, 0)


def _say(terminal: int, text: bytes, until: str) -> None:
    """Type ``text``, and read until the shell shows ``until``; the test's timeout ends the wait."""
    os.write(terminal, text)
    shown = ""
    while until not in shown:
        shown += os.read(terminal, 4096).decode(errors="replace")


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
def test_kubectl_finds_us(path: dict[str, str]) -> None:
    version = subprocess.run(
        ["kubectl", "osm-healthcheck", "version"], env=path, capture_output=True, text=True
    )
    assert version.stdout.startswith("osm-healthcheck ")
    for line, found in _ASKED.items():
        words = line.split(" ")
        asked = _lines(["kubectl", "__complete", *words], path)
        assert asked == {*found, ":4"}, line


def test_files_are_completed_to_the_next_folder(path: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "manifests").mkdir()
    done = subprocess.run(
        ["kubectl_complete-osm_healthcheck", "verify", "man"],
        env=path,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "manifests/\n:6\n"


def test_without_argcomplete_it_says_what_to_install(path: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "argcomplete.py").write_text("raise ModuleNotFoundError('none')")
    environment = path | {"PYTHONPATH": f"{tmp_path}:{path['PYTHONPATH']}"}
    done = subprocess.run(
        ["osm-healthcheck", "completion", "bash"], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install '.[completion]' in a clone of the repository" in done.stderr
