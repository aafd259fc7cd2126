"""The command ``osm-healthcheck`` of this working copy."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = (sys.executable, "-m", "osm_healthcheck")


def osm_healthcheck(*arguments: str, stdin: str, status: int = 0) -> str:
    """Run it and return what it writes to its standard output.

    Args:
        arguments: of the command; ``-`` for the standard input is added.
        stdin: its standard input.
        status: the exit status that is asserted.
    """
    argv = (*PROGRAM, *arguments, "-")
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == status, f"{argv}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def osm_healthcheck_in(
    kubeconfig: Path, *arguments: str, status: int = 0, **environment: str
) -> str:
    """Run it with a kubeconfig and with what is on PATH, and return its standard output.

    Args:
        kubeconfig: of the cluster that it reads.
        arguments: of the command.
        status: the exit status that is asserted.
        environment: more of it.
    """
    done = subprocess.run(
        [*PROGRAM, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, "KUBECONFIG": str(kubeconfig), **environment},
    )
    assert done.returncode == status, f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout
