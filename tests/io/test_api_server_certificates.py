"""API servers whose certificates Go takes, and Python 3.13 and newer by its defaults does not."""

import asyncio
import datetime
import ipaddress
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from osm_healthcheck.cluster.api import Cluster
from osm_healthcheck.injector.api_server import ApiServer, ApiServerAddress

_OBJECT = {"kind": "Secret"}


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps(_OBJECT).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def _write_certificates(directory: Path) -> None:
    """``ca.crt`` and ``server.pem``, the latter without an Authority Key Identifier, as EKS has."""
    names, keys = ("ca", "server"), {}
    now = datetime.datetime.now(datetime.UTC)
    for name in names:
        keys[name] = ec.generate_private_key(ec.SECP256R1())
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")]))
            .public_key(keys[name].public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(name == "ca", None), critical=True)
        )
        if name == "server":
            address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
        made = builder.sign(keys["ca"], hashes.SHA256())
        pem = made.public_bytes(serialization.Encoding.PEM)
        key = keys[name].private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        if name == "ca":
            (directory / "ca.crt").write_bytes(pem)
        else:
            (directory / "server.pem").write_bytes(key + pem)


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """An API server on 127.0.0.1; ``tmp_path`` is a service account for it."""
    _write_certificates(tmp_path)
    (tmp_path / "token").write_text("x")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def _by_injector(port: int, directory: Path) -> object:
    async def get() -> object:
        async with ApiServer(ApiServerAddress("127.0.0.1", port, directory)) as server:
            return await server.get("/api")

    return asyncio.run(get())


def _by_commands(port: int, directory: Path, **trust: object) -> object:
    cluster = {"server": f"https://127.0.0.1:{port}"}
    cluster |= trust or {"certificate-authority": str(directory / "ca.crt")}  # type: ignore[arg-type]
    kubeconfig: dict[str, Any] = {
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "c", "user": {"token": "x"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
    }
    file = directory / "kubeconfig"
    file.write_text(json.dumps(kubeconfig))
    return Cluster(str(file)).get("/api")


def _by_commands_without_trust(port: int, directory: Path) -> object:
    return _by_commands(port, directory, **{"insecure-skip-tls-verify": True})


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
@pytest.mark.parametrize("ask", [_by_injector, _by_commands, _by_commands_without_trust])
def test_a_certificate_without_an_authority_key_identifier(
    port: int, tmp_path: Path, ask: Callable[[int, Path], object]
) -> None:
    assert ask(port, tmp_path) == _OBJECT


@pytest.mark.parametrize("ask", [_by_injector, _by_commands])
def test_a_certificate_of_another_authority(
    port: int, tmp_path: Path, ask: Callable[[int, Path], object]
) -> None:
    _write_certificates(tmp_path)
    with pytest.raises(Exception, match="certificate verify failed"):
        ask(port, tmp_path)
