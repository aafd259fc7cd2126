"""Somebody else's mutating webhook: it adds a container with a probe, once."""

import base64
import contextlib
import http.server
import json
import ssl
import threading
from collections.abc import Iterator

from tests.io.tls import authority

from .control_plane import ControlPlane
from .webhook import PROBE

ADDED = {"name": "added", "image": "added:1", "readinessProbe": PROBE}


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = review["request"]
        names = [one["name"] for one in request["object"]["spec"]["containers"]]
        patch = [{"op": "add", "path": "/spec/containers/-", "value": ADDED}]
        response = {"uid": request["uid"], "allowed": True}
        if ADDED["name"] not in names:
            response["patchType"] = "JSONPatch"
            response["patch"] = base64.b64encode(json.dumps(patch).encode()).decode()
        body = json.dumps({**review, "request": None, "response": response}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def other_webhook(cluster: ControlPlane, name: str) -> Iterator[None]:
    """A webhook in a configuration called ``name``, for pods with the label ``other: yes``."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert("127.0.0.1").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    entry = {
        "name": "other.e2e.local",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "objectSelector": {"matchLabels": {"other": "yes"}},
        "rules": [
            {
                "apiGroups": [""],
                "apiVersions": ["v1"],
                "operations": ["CREATE"],
                "resources": ["pods"],
            }
        ],
        "clientConfig": {
            "url": f"https://127.0.0.1:{server.server_port}/",
            "caBundle": base64.b64encode(authority().cert_pem.bytes()).decode(),
        },
    }
    cluster.kubectl.apply(
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [entry],
        }
    )
    try:
        yield
    finally:
        cluster.kubectl("delete", "mutatingwebhookconfiguration", name)
        server.shutdown()
        server.server_close()
