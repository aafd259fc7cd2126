"""The few calls to the API server that keep a certificate: plain HTTP, as a pod makes it.

``k8s.io/client-go/rest`` InClusterConfig says where things are.
"""

import json
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp

from osm_healthcheck.errors import OSMHealthcheckError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TIMEOUT = aiohttp.ClientTimeout(total=10)
_JSON_PATCH = "application/json-patch+json"


class ApiServerError(OSMHealthcheckError):
    """The API server cannot be asked, or says no; ``status`` is 0 where it did not answer.

    ``is_wrong`` says that it names the object which is wrong (``apierrors.NewInvalid``).
    """

    def __init__(self, what: str, problem: str, status: int = 0, *, is_wrong: bool = False) -> None:
        self.status = status
        self._is_failed_test = what.startswith("PATCH ") and not is_wrong
        super().__init__(f"the API server: {what}: {problem}")

    @property
    def is_conflict(self) -> bool:
        """Whether somebody else has written in the meantime: read again.

        A JSON Patch whose ``test`` fails is a 422 that names no object (``applyJSPatch`` of
        ``apiserver/pkg/endpoints/handlers/patch.go``); one that does says that the object is wrong.
        """
        return self.status == HTTPStatus.CONFLICT or (
            self._is_failed_test and self.status == HTTPStatus.UNPROCESSABLE_ENTITY
        )


@dataclass(frozen=True, slots=True)
class ApiServerAddress:
    """Where the API server is, and who we are there: a host, a port and a service account."""

    host: str
    port: int
    service_account: Path = SERVICE_ACCOUNT

    @property
    def url(self) -> str:
        """Its address without a path."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}:{self.port}"


class ApiServer:
    """A session with the API server, as an asynchronous context."""

    def __init__(self, address: ApiServerAddress) -> None:
        self._address = address
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "ApiServer":
        authority = self._address.service_account / "ca.crt"
        try:
            context = ssl.create_default_context(cafile=str(authority))
        except (OSError, ssl.SSLError) as error:
            raise ApiServerError(
                str(authority), getattr(error, "strerror", "") or str(error)
            ) from None
        # Python 3.13 began to refuse certificates without an Authority Key Identifier; Go does
        # not (crypto/x509), and many clusters have such (kubernetes-client/python#2394).
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        connector = aiohttp.TCPConnector(ssl=context)
        self._session = aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str) -> dict[str, Any] | None:
        """An object; ``None`` where there is none.

        Raises:
            ApiServerError: where that cannot be found out.
        """
        try:
            return await self._call("GET", path)
        except ApiServerError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    async def create(self, path: str, value: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object in the collection ``path``; the object as it is stored.

        Raises:
            ApiServerError: with ``is_conflict`` where it is there already.
        """
        return await self._call("POST", path, value)

    async def replace(self, path: str, value: Mapping[str, Any]) -> dict[str, Any]:
        """Replace an object, of the resourceVersion that is in ``value``.

        Raises:
            ApiServerError: with ``is_conflict`` where it has another one.
        """
        return await self._call("PUT", path, value)

    async def patch(self, path: str, operations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Apply a JSON Patch.

        Raises:
            ApiServerError: with ``is_conflict`` where a ``test`` in it fails.
        """
        return await self._call("PATCH", path, operations, _JSON_PATCH)

    async def _call(
        self, method: str, path: str, body: object = None, content_type: str = "application/json"
    ) -> dict[str, Any]:
        what = f"{method} {path}"
        if self._session is None:
            raise ApiServerError(what, "the session is closed")
        try:
            # read each time: the kubelet renews it
            token = (self._address.service_account / "token").read_text().strip()
            async with self._session.request(
                method,
                self._address.url + path,
                data=None if body is None else json.dumps(body),
                headers={"Authorization": f"Bearer {token}", "Content-Type": content_type},
                allow_redirects=False,
            ) as response:
                answer = await response.read()
                status = response.status
        except TimeoutError:
            raise ApiServerError(what, "no answer in time") from None
        except (aiohttp.ClientError, OSError) as error:
            raise ApiServerError(what, str(error)) from None
        try:
            value = json.loads(answer)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise ApiServerError(what, f"its answer of status {status} is not an object", status)
        if status >= HTTPStatus.BAD_REQUEST:
            details = value.get("details")
            raise ApiServerError(
                what,
                str(value.get("message") or status),
                status,
                is_wrong=isinstance(details, dict) and bool(details.get("name")),
            )
        return value
