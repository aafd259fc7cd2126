"""Injectors to test: the process that an image runs, asked as the API server asks it."""

import base64
import contextlib
import http.client
import json
import shutil
import ssl
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.io.sidecar import Process
from tests.io.tls import authority
from tests.io.wire import TIMEOUT, own_address

WEBHOOK, HEALTH = 9090, 9091
PATH = "/mutate-pod-creation"


def write_certificate(directory: Path, *names: str) -> None:
    """A new pair for ``names`` in the files that a Secret of type kubernetes.io/tls has."""
    leaf = authority().issue_cert(*names)
    (directory / "tls.key").write_bytes(leaf.private_key_pem.bytes())
    chain = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
    (directory / "tls.crt").write_bytes(chain)


def review(pod: object, **more: object) -> dict[str, Any]:
    """An AdmissionReview of a pod that is created."""
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": "shop",
            "operation": "CREATE",
            "object": pod,
            "dryRun": False,
            **more,
        },
    }


def patch_of(response: dict[str, Any]) -> list[dict[str, Any]]:
    """The operations in a response; none where it holds no patch."""
    if "patch" not in response:
        assert "patchType" not in response
        return []
    assert response["patchType"] == "JSONPatch"
    operations = json.loads(base64.b64decode(response["patch"], validate=True))
    assert operations, "an empty patch is none"
    return list(operations)


class Injector(Process):
    """A running injector with a certificate for its own address."""

    def __init__(
        self,
        *arguments: str,
        pair: bool = True,
        address: str = "",
        environ: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        self.directory = Path(tempfile.mkdtemp())
        address = address or own_address()
        if pair:
            write_certificate(self.directory, address)
        own = ["--certificate", str(self.directory), "--bind", address]
        super().__init__(["injector", *own, *arguments], environ, bind=False, prefix=prefix)
        self.address = address

    def connect(self) -> http.client.HTTPSConnection:
        """A connection as the API server makes one: it trusts the authority alone."""
        context = ssl.create_default_context()
        authority().configure_trust(context)
        return http.client.HTTPSConnection(self.address, WEBHOOK, timeout=TIMEOUT, context=context)

    def request(
        self,
        method: str = "POST",
        path: str = PATH,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
    ) -> tuple[int, str]:
        """One request on a connection of its own: status and text."""
        given = {"Content-Type": "application/json"} if headers is None else headers
        with contextlib.closing(self.connect()) as connection:
            connection.request(method, path, body, given)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def admit(self, pod: object, mesh: str = "", **more: object) -> dict[str, Any]:
        """Post a review as the API server does; the response in it."""
        path = f"{PATH}/{mesh}" if mesh else PATH
        asked = review(pod, **more)
        body = json.dumps(asked).encode()
        status, text = self.request(path=f"{path}?timeout=5s", body=body)
        assert status == 200, text
        answered = json.loads(text)
        assert {answered["apiVersion"], answered["kind"]} == {
            "admission.k8s.io/v1",
            "AdmissionReview",
        }
        response: dict[str, Any] = answered["response"]
        assert response["uid"] == asked["request"]["uid"]
        return response


@contextlib.contextmanager
def injector(*arguments: str, pair: bool = True, **more: Any) -> Iterator[Injector]:
    """Run ``osm-healthcheck injector``; it is ready, unless it was given no ``pair``.

    ``more`` is that of `Injector`.
    """
    running = Injector(*arguments, pair=pair, **more)
    try:
        if pair:
            running.wait_for("ready")
        yield running
    finally:
        running.end()
        shutil.rmtree(running.directory)
