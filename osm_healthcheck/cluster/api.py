"""The API server, by the Kubernetes client: it knows kubeconfigs, exec plugins, proxies and pods.

Objects are read as the plain mappings that they are: the client's own models are not loaded.
"""

import json
import logging
import os
import ssl
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

from osm_healthcheck.cluster.resources import Resource
from osm_healthcheck.errors import OSMHealthcheckError

_PAGE = 500  # objects an answer, as kubectl asks for them
_SECONDS = (10, 60)  # to connect, and to read
_DEFAULT = "~/.kube/config"
# rest.InClusterConfig of client-go
_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class ClusterError(OSMHealthcheckError):
    """The cluster cannot be asked, or says no; ``status`` is 0 where it did not answer."""

    def __init__(self, problem: str, status: int = 0) -> None:
        self.status = status
        super().__init__(problem)


class Cluster:
    """One API server, as a kubeconfig or the pod around us names it.

    ``namespace`` is that of the context; ``kubeconfig`` and ``context`` are those that were asked
    for, or empty.
    """

    def __init__(self, kubeconfig: str = "", context: str = "") -> None:
        """Read the kubeconfig, and have an exec plugin say who we are.

        Raises:
            ClusterError: where there is none, or something in it is wrong.
        """
        try:
            from kubernetes import config
            from kubernetes.client import ApiClient, Configuration
        except ModuleNotFoundError as error:
            raise ClusterError(
                "to read a cluster takes the Kubernetes client, which is not installed: pip "
                "install '.[cluster]' in a clone of the repository, or pipe into it what kubectl "
                f"get -o yaml prints ({error})"
            ) from None
        self.kubeconfig, self.context = kubeconfig, context
        configuration = Configuration()
        configuration.retries = False
        said = _Said()
        logging.getLogger().addHandler(said)
        files = kubeconfig or os.environ.get("KUBECONFIG") or _DEFAULT
        in_a_pod = not kubeconfig and not context and _is_in_a_pod(files)
        if not in_a_pod and not _exists(files):
            raise ClusterError(
                f"{files}: there is no such file; --kubeconfig or KUBECONFIG names another"
            )
        try:
            if in_a_pod:
                config.load_incluster_config(client_configuration=configuration)
                self.namespace = (_SERVICE_ACCOUNT / "namespace").read_text().strip()
            else:
                self.namespace = _namespace_of(config, files, context)
                config.load_kube_config(
                    config_file=files, context=context or None, client_configuration=configuration
                )
        except Exception as error:  # whatever is wrong in a file that others write
            raise ClusterError(f"{files}: {getattr(error, 'strerror', '') or error}") from None
        finally:
            logging.getLogger().removeHandler(said)
        if said.lines:
            raise ClusterError(f"{files}: {'; '.join(said.lines)}")
        self._client = ApiClient(configuration)
        pools = self._client.rest_client.pool_manager
        pools.connection_pool_kw["ssl_context"] = _tls_context(configuration)

    def get(self, path: str, **query: str | int) -> dict[str, Any]:
        """One object, or one page of a list.

        Raises:
            ClusterError: with the API server's own words.
        """
        import urllib3

        headers = {"Accept": "application/json"}
        try:
            request = self._client.param_serialize(
                "GET",
                path,
                query_params=list(query.items()),
                header_params=headers,
                auth_settings=["BearerToken"],
            )
            response = self._client.call_api(*request, _request_timeout=_SECONDS)
            value = json.loads(response.read())
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise ClusterError(f"{self._client.configuration.host}: {_words_of(error)}") from None
        if response.status >= HTTPStatus.BAD_REQUEST:
            raise self._refusal(value, response.status)
        return value if isinstance(value, dict) else {}

    def objects(self, resource: Resource, namespace: str, **query: str) -> Iterator[dict[str, Any]]:
        """The objects of a kind in a namespace, or in all (empty), page by page.

        Raises:
            ClusterError: with the API server's own words.
        """
        more = ""
        while True:
            at = {"continue": more} if more else {}
            page = self.get(resource.path(namespace), limit=_PAGE, **query, **at)
            for item in page.get("items") or []:
                # the items of a list do not say what they are
                yield {"apiVersion": resource.version, "kind": resource.kind, **item}
            more = (page.get("metadata") or {}).get("continue") or ""
            if not more:
                return

    def _refusal(self, status: object, code: int) -> ClusterError:
        message = status.get("message") if isinstance(status, dict) else ""
        problem = str(message or f"the API server answers {code}")
        if code == HTTPStatus.UNAUTHORIZED:
            problem = f"the API server does not know us ({problem}): log in again"
        return ClusterError(problem, code)


class _Said(logging.Handler):
    """Keeps the errors that are logged: where an exec plugin fails, the client only logs it."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def _tls_context(configuration: Any) -> ssl.SSLContext:
    """What urllib3 makes itself, without a rule that Go's clients do not have.

    Python 3.13 began to refuse certificates without an Authority Key Identifier, and many
    clusters have such (kubernetes-client/python#2394).
    """
    from urllib3.util import create_urllib3_context

    required = ssl.CERT_REQUIRED if configuration.verify_ssl else ssl.CERT_NONE
    context = create_urllib3_context(cert_reqs=required)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not configuration.ssl_ca_cert and not configuration.ca_cert_data:
        context.load_default_certs()
    return context


def _is_in_a_pod(files: str) -> bool:
    """Whether there is a service account, and no kubeconfig: that is how client-go chooses."""
    return (
        "KUBERNETES_SERVICE_HOST" in os.environ
        and (_SERVICE_ACCOUNT / "token").exists()
        and not _exists(files)
    )


def _exists(files: str) -> bool:
    """Whether one of several kubeconfigs, separated as in KUBECONFIG, is there."""
    return any(Path(one).expanduser().exists() for one in files.split(os.pathsep) if one)


def _namespace_of(config: Any, files: str, context: str) -> str:
    contexts, active = config.list_kube_config_contexts(config_file=files)
    chosen = next((one for one in contexts if one["name"] == context), None) if context else active
    if chosen is None:
        known = ", ".join(one["name"] for one in contexts)
        raise ValueError(f"there is no context {context}; there are {known}")
    return str((chosen.get("context") or {}).get("namespace") or "default")


def _words_of(error: BaseException) -> str:
    """The innermost cause: the client wraps it several times."""
    while error.__cause__ is not None or getattr(error, "reason", None) is not None:
        inner = error.__cause__ or getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            break
        error = inner
    return getattr(error, "strerror", None) or str(error)
