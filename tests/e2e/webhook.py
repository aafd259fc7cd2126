"""The injector as an API server's webhook: by url, as no pod runs it here."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.io.injector import HEALTH, WEBHOOK, Injector, injector
from tests.io.tls import authority
from tests.io.wire import get

from .control_plane import ControlPlane
from .kubectl import Kubectl
from .process import until

NAME = "0-osm-healthcheck-injector"
MANIFEST = Path(__file__).parents[2] / "deploy" / "osm-healthcheck.yaml"
PROBE = {"httpGet": {"path": "/h", "port": 8080}}


def objects(kind: str) -> list[Any]:
    """The objects of a kind in the manifest that users apply."""
    documents = yaml.safe_load_all(MANIFEST.read_text())
    return [one for one in documents if one and one["kind"] == kind]


def configuration(address: str, ca: bytes, **changes: object) -> dict[str, Any]:
    """The manifest's webhook configuration, for an injector at ``address``.

    Args:
        address: where it listens.
        ca: what its certificate is verified by, in PEM; empty for nothing yet.
        changes: to every entry.
    """
    [found] = objects("MutatingWebhookConfiguration")
    configured: dict[str, Any] = json.loads(json.dumps(found))
    for entry in configured["webhooks"]:
        path = entry["clientConfig"]["service"]["path"]
        entry["clientConfig"] = {"url": f"https://{address}:{WEBHOOK}{path}"}
        if ca:
            entry["clientConfig"]["caBundle"] = base64.b64encode(ca).decode()
        entry |= changes
    return configured


def pod(
    name: str = "web",
    *,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    port: object = 8080,
    **spec: object,
) -> dict[str, Any]:
    """A pod with a liveness probe."""
    container = {"name": "app", "image": "app:1", "livenessProbe": {"httpGet": {"port": port}}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels or {}, "annotations": annotations or {}},
        "spec": {"containers": [container], **spec},
    }


def is_injected(found: dict[str, Any]) -> bool:
    """Whether our container is in a pod."""
    return any(one["name"] == "osm-healthcheck" for one in found["spec"].get("initContainers", []))


def created(kubectl: Kubectl, manifest: dict[str, Any], *options: str) -> Any:
    """What the API server makes of a manifest."""
    text = json.dumps(manifest)
    return json.loads(kubectl("create", *options, "-o", "json", "-f", "-", stdin=text))


def wait_until_in_force(kubectl: Kubectl, namespace: str = "default") -> None:
    """The API server learns of a configuration by a watch: ask, dry, until it calls us."""

    def is_called() -> bool:
        asked = pod("asked", labels={"healthcheck.openservicemesh.io/mesh": "none"})
        options = ("create", "--dry-run=server", "-n", namespace, "-o", "json", "-f", "-")
        done = kubectl.run(*options, stdin=json.dumps(asked))
        return done.returncode == 0 and is_injected(json.loads(done.stdout))

    until(is_called, "the webhook is called")


def calls(running: Injector) -> int:
    """How many admissions an injector has answered."""
    text = get(running.address, HEALTH, "/metrics").body.decode()
    lines = [line for line in text.splitlines() if line.startswith("osm_healthcheck_injector_adm")]
    return int(sum(float(line.rpartition(" ")[2]) for line in lines if "_total" in line))


@contextmanager
def installed(cluster: ControlPlane, *arguments: str, **changes: object) -> Iterator[Injector]:
    """An injector that an API server calls; the configuration is gone with the context."""
    with injector(*arguments) as running:
        ca = authority().cert_pem.bytes()
        cluster.kubectl.apply(configuration(running.address, ca, **changes))
        try:
            wait_until_in_force(cluster.kubectl)
            yield running
        finally:
            cluster.kubectl("delete", "mutatingwebhookconfiguration", NAME)


@contextmanager
def beside(
    cluster: ControlPlane, name: str, *arguments: str, **changes: object
) -> Iterator[Injector]:
    """A second injector, called for pods with the label ``NAME: yes``, after those before it."""
    with injector(*arguments) as running:
        configured = configuration(running.address, authority().cert_pem.bytes(), **changes)
        configured["metadata"] = {"name": name}
        configured["webhooks"] = configured["webhooks"][:1]
        configured["webhooks"][0]["objectSelector"] = {"matchLabels": {name: "yes"}}
        cluster.kubectl.apply(configured)
        asked = pod("asked", labels={name: "yes"})
        try:
            until(
                lambda: is_injected(created(cluster.kubectl, asked, "--dry-run=server")),
                "the second webhook is called",
            )
            yield running
        finally:
            cluster.kubectl("delete", "mutatingwebhookconfiguration", name)
