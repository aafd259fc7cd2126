"""Try it: a web app, the sidecar in front of it, and the probes that a kubelet would send.

The app is Python's own file server on port 14001. Everything here listens on loopback and ends
with this script.
"""

import contextlib
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

APP_PORT = 14001
DECLARED = [
    *("--liveness", f"http://:{APP_PORT}/"),
    *("--readiness", f"http://:{APP_PORT}/no/such/page"),
    *("--startup", f"tcp://:{APP_PORT}"),
]
PROBES = [
    ("liveness", "http://127.0.0.1:15901/osm-liveness-probe", {}),
    ("readiness", "http://127.0.0.1:15902/osm-readiness-probe", {}),
    ("startup", "http://127.0.0.1:15904/osm-healthcheck", {"Original-Tcp-Port": str(APP_PORT)}),
]


@contextlib.contextmanager
def running(name: str, *module: str) -> Iterator[None]:
    command = [sys.executable, "-m", *module]
    print(f"\n# {name}\n$ {' '.join(command)}", flush=True)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def ask(url: str, headers: dict[str, str]) -> str:
    """The status and the first header lines of an answer."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return f"{answer.status} {answer.reason}"
    except urllib.error.HTTPError as error:
        with error:
            return f"{error.code} {error.reason}"


def wait_for(url: str) -> None:
    for _ in range(200):
        with contextlib.suppress(urllib.error.URLError):
            urllib.request.urlopen(url).close()
            return
        time.sleep(0.05)
    sys.exit(f"nothing answers at {url}: is the port in use?")


def show() -> None:
    for kind, url, headers in PROBES:
        sent = "".join(f" ({name}: {value})" for name, value in headers.items())
        print(f"{kind:<10} {url}{sent}\n           -> {ask(url, headers)}", flush=True)


def main() -> None:
    with running("the sidecar", "osm_healthcheck", "--bind", "127.0.0.1", *DECLARED):
        wait_for("http://127.0.0.1:15904/healthz")
        with running("the app", "http.server", "--bind", "127.0.0.1", str(APP_PORT)):
            wait_for(f"http://127.0.0.1:{APP_PORT}/")
            print("\n# the kubelet's probes, while the app runs")
            show()
        print("\n# the same probes, after the app has ended")
        show()


if __name__ == "__main__":
    main()
