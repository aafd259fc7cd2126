"""``--certificate self``: a certificate that the replicas make, share in a Secret, and renew.

What is in the Secret is the truth: whoever finds none there, or one that is two thirds through its
life, writes a new one, and of several writers the API server lets one win. Its CA is put into the
webhook configuration beside the one before it, and only when it is there is the certificate served.
"""

import asyncio
import base64
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from osm_healthcheck.injector.api_server import ApiServer, ApiServerAddress, ApiServerError
from osm_healthcheck.injector.certificate import (
    CHAIN_FILE,
    KEY_FILE,
    CertificateError,
    Examined,
    ServingCertificate,
    certificates_in,
    examined,
)
from osm_healthcheck.injector.key_pair import make_key_pair
from osm_healthcheck.server.logs import Log
from osm_healthcheck.server.rate_limit import RateLimit

_CA_FILE = "ca.crt"
_LOOK_SECONDS = 10.0
# Between the configuration and the API servers' knowing of it, by their watches
_PROPAGATION_SECONDS = 5.0
_RETRY_SECONDS = 1.0
_LINES_PER_SECOND, _LINES_BURST = 1, 5


@dataclass(frozen=True, slots=True)
class SharedCertificateSettings:
    """What is shared, and by which names; ``lifetime`` of a certificate is in seconds."""

    address: ApiServerAddress
    namespace: str
    secret: str
    configuration: str
    names: tuple[str, ...]
    lifetime: float


@dataclass(frozen=True, slots=True)
class _Stored:
    """What the Secret holds; ``cas`` are the newest CA and the one before it."""

    chain: bytes
    key: bytes
    cas: tuple[bytes, ...]

    @property
    def bundle(self) -> str:
        return base64.b64encode(b"\n".join(self.cas) + b"\n").decode()


class SharedCertificate:
    """Keeps one replica's certificate the one of the Secret."""

    def __init__(
        self,
        settings: SharedCertificateSettings,
        certificate: ServingCertificate,
        log: Log,
        problem: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._certificate = certificate
        self._log = log
        self._problem = problem
        self._limit = RateLimit(_LINES_PER_SECOND, _LINES_BURST)
        self._served: _Stored | None = None
        # short lives are for tests: what is waited for is a small part of them
        self._look = min(_LOOK_SECONDS, settings.lifetime / 12)
        self._propagation = min(_PROPAGATION_SECONDS, settings.lifetime / 12)
        self._secrets = f"/api/v1/namespaces/{settings.namespace}/secrets"
        self._configuration = (
            "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/"
            + settings.configuration
        )

    async def keep(self) -> None:
        """Look after the certificate; does not return.

        Raises:
            ModuleNotFoundError: where one has to be made, and ``cryptography`` is not installed.
        """
        while True:
            try:
                async with ApiServer(self._settings.address) as api:
                    is_settled = await self._step(api)
            except (ApiServerError, CertificateError) as error:
                is_settled = False
                text = "certificate cannot be kept"
                self._log.limited(logging.ERROR, self._limit, text, error=str(error))
                # what is served still is, as long as it lasts
                if self._served is None:
                    self._problem(f"no certificate: {error}")
            await asyncio.sleep(self._look if is_settled else _RETRY_SECONDS)

    async def _step(self, api: ApiServer) -> bool:
        """Go one step; whether all is as it should be."""
        try:
            stored = await self._stored(api)
            if not await self._publish(api, stored):
                self._problem(
                    f"there is no MutatingWebhookConfiguration {self._settings.configuration} yet "
                    "to carry our CA"
                )
                return False
        except ApiServerError as error:
            if error.is_conflict:  # another replica was quicker
                return False
            raise
        if stored != self._served:
            if self._served is not None:
                await asyncio.sleep(self._propagation)
            self._certificate.install(stored.chain, stored.key)
            self._served = stored
            self._log.info("certificate in use", expires=self._certificate.expires)
        self._problem("")
        return True

    async def _stored(self, api: ApiServer) -> _Stored:
        """What the Secret holds; it is written first where it has to be."""
        path = f"{self._secrets}/{self._settings.secret}"
        secret = await api.get(path)
        found = _read(secret) if secret else None
        if found is not None and self._is_good(found):
            return found
        pair = await asyncio.to_thread(make_key_pair, self._settings.names, self._settings.lifetime)
        before = found.cas[:1] if found and _served_by(found) else ()
        made = _Stored(pair.chain, pair.key, (pair.ca.strip(), *before))
        if secret is None:
            await api.create(self._secrets, self._secret(made))
        else:
            await api.replace(path, self._secret(made, secret["metadata"]["resourceVersion"]))
        self._log.info("certificate made", names=list(self._settings.names))
        return made

    def _is_good(self, stored: _Stored) -> bool:
        """Whether a certificate can be served, for our names, and is not to be renewed yet."""
        if (found := _served_by(stored)) is None:
            return False
        left = found.expiry - time.time()
        return left > self._settings.lifetime / 3 and set(self._settings.names) <= found.names

    async def _publish(self, api: ApiServer, stored: _Stored) -> bool:
        """Put our CAs into every entry of the configuration; whether there is one."""
        configuration = await api.get(self._configuration)
        if configuration is None:
            return False
        operations = [
            {
                "op": "add",
                "path": f"/webhooks/{index}/clientConfig/caBundle",
                "value": stored.bundle,
            }
            for index, entry in enumerate(configuration.get("webhooks") or [])
            if entry["clientConfig"].get("caBundle") != stored.bundle
        ]
        if operations:
            version = configuration["metadata"]["resourceVersion"]
            test = {"op": "test", "path": "/metadata/resourceVersion", "value": version}
            await api.patch(self._configuration, [test, *operations])
            self._log.info("CA put into the webhook configuration", entries=len(operations))
        return True

    def _secret(self, stored: _Stored, version: str = "") -> dict[str, Any]:
        metadata = {"name": self._settings.secret, "namespace": self._settings.namespace}
        if version:
            metadata["resourceVersion"] = version
        data = {CHAIN_FILE: stored.chain, KEY_FILE: stored.key, _CA_FILE: b"\n".join(stored.cas)}
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/tls",
            "metadata": metadata,
            "data": {name: base64.b64encode(value).decode() for name, value in data.items()},
        }


def _served_by(stored: _Stored) -> Examined | None:
    """The certificate that can be served by it to whoever trusts its CAs; ``None`` for none."""
    try:
        return examined(stored.chain, stored.key, b"\n".join(stored.cas))
    except CertificateError:
        return None


def _read(secret: dict[str, Any]) -> _Stored | None:
    """What a Secret holds; ``None`` where that is not what a replica has written."""
    data = secret.get("data") or {}
    try:
        chain, key, cas = (
            base64.b64decode(data[name]) for name in (CHAIN_FILE, KEY_FILE, _CA_FILE)
        )
    except (KeyError, ValueError, TypeError):
        return None
    return _Stored(chain, key, tuple(certificates_in(cas)))
