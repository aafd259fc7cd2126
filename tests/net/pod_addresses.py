"""Probes of apps that listen on one address of their pod only, asked inside a namespace.

As a module of its own it asks, and prints the statuses as JSON; `statuses_in_a_pod` runs it.
"""

import json
import subprocess
import sys

from tests.io.apps import app, hold, http_app, response
from tests.io.sidecar import http_probe, sidecar, tcp_probe
from tests.net.namespaces import need

POD_IP = "192.0.2.10"
_SCRIPT = f'ip link set lo up && ip addr add {POD_IP}/32 dev lo && exec "$@"'


def statuses_in_a_pod() -> dict[str, int]:
    """What `main` prints in a namespace that has loopback and `POD_IP`, of no user's privilege."""
    need("unshare", "ip")
    trial = subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False)
    need(root=trial.returncode != 0)
    done = subprocess.run(
        ["unshare", "-rn", "sh", "-c", _SCRIPT, "sh", sys.executable, "-m", __name__],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    statuses: dict[str, int] = json.loads(done.stdout)
    return statuses


def main() -> None:
    """Ask each app through a sidecar at the pod's address, as the kubelet does."""
    statuses: dict[str, int] = {}
    for where, address in (("pod IP", POD_IP), ("loopback", "127.0.0.1"), ("any", "0.0.0.0")):
        with http_app(response(), address=address) as web, app(hold, address) as listener:
            probes = {
                "app": {
                    "livenessProbe": http_probe(web.port),
                    "readinessProbe": tcp_probe(listener.port),
                }
            }
            with sidecar(probes, address=POD_IP) as running:
                statuses[f"http on {where}"] = running.probe().status
                statuses[f"tcp on {where}"] = running.check(listener.port).status
            with sidecar(None, address=POD_IP) as running:
                statuses[f"undeclared tcp on {where}"] = running.check(listener.port).status
            with sidecar(probes, "--target-host", "127.0.0.1", address=POD_IP) as running:
                statuses[f"http on {where}, --target-host"] = running.probe().status
    with http_app(response()) as web:
        probes = {"app": {"livenessProbe": http_probe(web.port)}}
        for name, networks in (("inside", f"{POD_IP}/32"), ("outside", "198.51.100.0/24")):
            with sidecar(
                probes, "--allow-from", networks, "--target-host", "127.0.0.1", address=POD_IP
            ) as running:
                statuses[f"caller {name} --allow-from"] = running.probe().status
    print(json.dumps(statuses))


if __name__ == "__main__":
    main()
