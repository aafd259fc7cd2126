"""kubectl, for one cluster."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .process import until


class KubectlError(Exception):
    """kubectl said no; the message is what it said."""


class Kubectl:
    """Runs kubectl with the kubeconfig of a cluster."""

    def __init__(self, program: Path, kubeconfig: Path) -> None:
        self._argv = [str(program), "--kubeconfig", str(kubeconfig)]
        # A cache of what the server has, in its own folder and not in that of whoever runs this.
        self._argv += ["--cache-dir", str(kubeconfig.parent / "kubectl-cache")]

    def __call__(self, *arguments: str, stdin: str = "", seconds: float = 150) -> str:
        """Run it and return what it writes to its standard output.

        Args:
            arguments: of kubectl.
            stdin: its standard input.
            seconds: that it may take.

        Raises:
            KubectlError: it fails.
        """
        done = self.run(*arguments, stdin=stdin, seconds=seconds)
        if done.returncode != 0:
            raise KubectlError(f"kubectl {' '.join(arguments)}: {done.stderr}{done.stdout}")
        return done.stdout

    def run(
        self, *arguments: str, stdin: str = "", seconds: float = 150
    ) -> subprocess.CompletedProcess[str]:
        """Run it and return all there is to it, whether it fails or not."""
        argv = self.argv(*arguments)
        return subprocess.run(
            argv, input=stdin, capture_output=True, text=True, timeout=seconds, check=False
        )

    def argv(self, *arguments: str) -> list[str]:
        """The command, for whoever runs it otherwise."""
        return [*self._argv, *arguments]

    def get(self, *arguments: str) -> Any:
        """``kubectl get ARGUMENTS``, as an object."""
        return json.loads(self("get", *arguments, "-o", "json"))

    def apply(self, *manifests: object, namespace: str = "default") -> None:
        """``kubectl apply`` of objects, with an error for a field that the API does not know."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
        self("apply", "--namespace", namespace, "--validate=strict", "-f", "-", stdin=text)

    def wait(
        self, what: str, condition: str, *, namespace: str = "default", seconds: int = 150
    ) -> None:
        """``kubectl wait --for=CONDITION WHAT``.

        Raises:
            KubectlError: it takes too long, or is not there.
        """
        arguments = ("wait", what, f"--for={condition}", f"--timeout={seconds}s")
        self(*arguments, "--namespace", namespace, seconds=seconds + 10)

    @contextmanager
    def port_forward(
        self, what: str, *ports: str, namespace: str = "default"
    ) -> Iterator[list[int]]:
        """``kubectl port-forward WHAT PORT...``; yields the local ports, once they are open."""
        local = ("--address", "127.0.0.1", "--namespace", namespace)
        argv = self.argv("port-forward", what, *ports, *local)
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                # Forwarding from 127.0.0.1:39421 -> 15901
                lines = [process.stdout.readline() for _ in ports]
                assert all(lines), f"{argv} ended: {process.poll()}"
                yield [int(line.partition(" ->")[0].rpartition(":")[2]) for line in lines]
            finally:
                process.terminate()

    def curl(
        self, what: str, port: int, path: str, *options: str, namespace: str = "default"
    ) -> tuple[str, str]:
        """``kubectl port-forward WHAT PORT`` and ``curl -i``: an answer's head, and its body.

        Over TLS where one of the options is ``--insecure``.
        """
        scheme = "https" if "--insecure" in options else "http"
        with self.port_forward(what, str(port), namespace=namespace):
            url = f"{scheme}://localhost:{port}{path}"
            argv = ["curl", "--silent", "--show-error", "--noproxy", "*", "-i", *options, url]
            done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr
        head, _, body = done.stdout.partition("\n\n")
        return head, body

    def wait_for_existence(self, *what: str) -> None:
        """Wait until ``kubectl get WHAT`` finds something."""
        until(lambda: self.run("get", *what).returncode == 0, f"there is {' '.join(what)}")
