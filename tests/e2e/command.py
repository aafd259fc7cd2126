"""The command ``osm-healthcheck`` of this working copy."""

import subprocess
import sys

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
