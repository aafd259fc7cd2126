"""``--certificate self``: replicas that share a Secret, against a real API server and its RBAC."""

import asyncio
import base64
import concurrent.futures
import contextlib
import http.client
import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import trustme

from osm_healthcheck.injector.api_server import ApiServer, ApiServerAddress, ApiServerError
from osm_healthcheck.injector.certificate import certificates_in
from tests.io.injector import HEALTH, WEBHOOK, Injector, injector
from tests.io.tls import authority
from tests.io.wire import get, own_address

from .control_plane import ControlPlane, control_plane
from .forwarder import Forwarder
from .process import until
from .webhook import NAME, configuration, created, is_injected, objects, pod

pytestmark = pytest.mark.e2e

_NAMESPACE = "osm-healthcheck"
_SECRET = "osm-healthcheck-injector-certificate"
_REPLICAS = 3
_LIFETIME = 36.0  # seconds: renewed after 24


@pytest.fixture
def account(cluster: ControlPlane, tmp_path: Path) -> Iterator[Path]:
    """The service account as the manifest has it, with no more rights than that."""
    yield _account(cluster, tmp_path)
    for kind, name in (("secret", _SECRET), ("mutatingwebhookconfiguration", NAME)):
        cluster.kubectl("delete", kind, name, "-n", _NAMESPACE, "--ignore-not-found")


def _account(cluster: ControlPlane, folder: Path) -> Path:
    """What the kubelet mounts into a pod of the service account."""
    kinds = ["Namespace", "ServiceAccount", "Role", "RoleBinding"]
    for kind in (*kinds, "ClusterRole", "ClusterRoleBinding"):
        cluster.kubectl.apply(*objects(kind), namespace=_NAMESPACE)
    token = cluster.kubectl("create", "token", "osm-healthcheck-injector", "-n", _NAMESPACE)
    (folder / "token").write_text(token)
    (folder / "namespace").write_text(_NAMESPACE)
    (folder / "ca.crt").write_bytes(cluster.authority_file.read_bytes())
    return folder


@contextlib.contextmanager
def _replicas(
    cluster: ControlPlane, account: Path, *arguments: str, port: int = 0
) -> Iterator[list[Injector]]:
    """Replicas that were started at the same moment, with one certificate for all their names.

    They find the API server at ``port``, or at its own.
    """
    addresses = [own_address() for _ in range(_REPLICAS)]
    host, _, own_port = cluster.url.removeprefix("https://").partition(":")
    environ = {
        "KUBERNETES_SERVICE_HOST": host,
        "KUBERNETES_SERVICE_PORT": str(port) if port else own_port,
    }
    shared = ["--certificate", "self", "--certificate-name", ",".join(addresses)]
    shared += ["--service-account", str(account), *arguments]
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(injector(*shared, pair=False, address=one, environ=environ))
            for one in addresses
        ]


def _configure(cluster: ControlPlane, replicas: list[Injector]) -> None:
    """One entry a replica, for pods whose label ``replica`` has its number; and no CA yet."""
    entries = []
    for number, one in enumerate(replicas):
        entry = configuration(one.address, b"")["webhooks"][0]
        entry["name"] = f"replica-{number}.e2e.local"
        entry["objectSelector"] = {"matchLabels": {"replica": str(number)}}
        entries.append(entry)
    cluster.kubectl.apply(configuration("127.0.0.1", b"") | {"webhooks": entries})


def _ask(cluster: ControlPlane, number: int) -> Any:
    labels = {"replica": str(number)}
    return created(cluster.kubectl, pod("asked", labels=labels), "--dry-run=server")


def _leaf(replica: Injector) -> bytes:
    """What a replica serves, whoever has signed it."""
    return ssl.get_server_certificate((replica.address, WEBHOOK)).encode().strip()


def _cas(cluster: ControlPlane) -> list[bytes]:
    """The CAs in the configuration, the same in every entry."""
    entries = cluster.kubectl.get("mutatingwebhookconfiguration", NAME)["webhooks"]
    [bundle] = {entry["clientConfig"].get("caBundle", "") for entry in entries}
    return certificates_in(base64.b64decode(bundle))


def test_replicas_race_for_the_first_certificate_and_share_it(
    cluster: ControlPlane, account: Path
) -> None:
    with _replicas(cluster, account) as replicas:
        said = b"Service is not ready: there is no MutatingWebhookConfiguration"
        until(lambda: all(_reason(one).startswith(said) for one in replicas), "all say why not")
        _configure(cluster, replicas)
        for one in replicas:
            one.wait_for("ready")
        assert len({_leaf(one) for one in replicas}) == 1
        made = [line for one in replicas for line in one.lines if "made" in line["message"]]
        assert len(made) == 1
        secret = cluster.kubectl.get("secret", _SECRET, "-n", _NAMESPACE)
        assert set(secret["data"]) == {"tls.crt", "tls.key", "ca.crt"}
        assert base64.b64decode(secret["data"]["ca.crt"]).strip() == _cas(cluster)[0]
        _wait_until_called(cluster)
    # and one that comes later makes none
    with _replicas(cluster, account) as replicas:
        _configure(cluster, replicas)
        errors = [line for one in replicas for line in one.lines if line["level"] == "error"]
        assert not errors


def _reason(one: Injector) -> bytes:
    """What it says of being ready; nothing where it has not bound its port yet."""
    try:
        return get(one.address, HEALTH, "/health/ready").body
    except ConnectionRefusedError:
        return b""


def _is_called(cluster: ControlPlane, number: int) -> bool:
    """Whether an admission comes through."""
    asked = json.dumps(pod("asked", labels={"replica": str(number)}))
    done = cluster.kubectl.run("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=asked)
    return done.returncode == 0 and is_injected(json.loads(done.stdout))


def _wait_until_called(cluster: ControlPlane) -> None:
    """The API server learns of a CA by a watch."""
    until(lambda: all(_is_called(cluster, one) for one in range(_REPLICAS)), "the CA is known")


def test_a_certificate_is_renewed_without_one_failed_admission(
    cluster: ControlPlane, account: Path
) -> None:
    with _replicas(cluster, account, "--certificate-lifetime", str(_LIFETIME)) as replicas:
        _configure(cluster, replicas)
        for one in replicas:
            one.wait_for("ready")
        _wait_until_called(cluster)
        first = _leaf(replicas[0])
        end, failures, answered = threading.Event(), list[str](), list[int]()

        def admissions(number: int) -> None:
            while not end.is_set():
                try:
                    assert is_injected(_ask(cluster, number))
                    answered.append(number)
                except Exception as error:
                    failures.append(str(error))

        with concurrent.futures.ThreadPoolExecutor(_REPLICAS) as pool:
            for number in range(_REPLICAS):
                pool.submit(admissions, number)
            try:
                for one in replicas:
                    one.wait_for("certificate in use", times=2)
                until(lambda: all(_leaf(one) != first for one in replicas), "all serve the new one")
                had = len(answered)
                until(lambda: len(answered) > had + 10, "some more are answered")
            finally:
                end.set()
        assert not failures
        # the new CA and the one before it, for replicas that still serve the old certificate
        assert len(_cas(cluster)) == 2
        assert len({_leaf(one) for one in replicas}) == 1


def test_the_api_server_goes_and_comes_back(cluster: ControlPlane, account: Path) -> None:
    """Cut off from it by a forwarder, replicas serve on; afterwards the certificate is renewed."""
    host, _, port = cluster.url.removeprefix("https://").partition(":")
    with Forwarder((host, int(port))) as forwarder:
        told = ("--certificate-lifetime", str(_LIFETIME))
        with _replicas(cluster, account, *told, port=forwarder.port) as replicas:
            _configure(cluster, replicas)
            for one in replicas:
                one.wait_for("ready")
            _wait_until_called(cluster)
            first = _leaf(replicas[0])
            forwarder.cut()
            for one in replicas:
                line = one.wait_for("certificate cannot be kept")
                assert "the API server: GET " in line["error"]
            assert _is_called(cluster, 0)
            assert {_reason(one) for one in replicas} == {b"Service is ready"}
            forwarder.restore()
            for one in replicas:
                one.wait_for("certificate in use", times=2)
            assert _leaf(replicas[0]) != first
            until(lambda: {_reason(one) for one in replicas} == {b"Service is ready"}, "all ready")
            _wait_until_called(cluster)


def test_an_emptied_ca_bundle_is_filled_again(cluster: ControlPlane, account: Path) -> None:
    """As ``kubectl replace`` of the manifest does."""
    with _replicas(cluster, account, "--certificate-lifetime", "60") as replicas:
        _configure(cluster, replicas)
        for one in replicas:
            one.wait_for("ready")
        before = _cas(cluster)
        operation = {"op": "remove", "path": "/webhooks/1/clientConfig/caBundle"}
        cluster.kubectl(
            *("patch", "mutatingwebhookconfiguration", NAME, "--type=json"),
            *("-p", json.dumps([operation])),
        )
        until(lambda: _bundles(cluster) == 1, "each entry has it")
        assert _cas(cluster) == before


@pytest.mark.parametrize(
    "ca",
    [
        b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
        trustme.CA().cert_pem.bytes(),  # another one: whoever trusts it would not call us
    ],
    ids=["broken", "another"],
)
def test_a_ca_in_the_secret_that_is_none_of_ours_is_replaced(
    cluster: ControlPlane, account: Path, ca: bytes
) -> None:
    leaf = authority().issue_cert("osm-healthcheck-injector.osm-healthcheck.svc")
    files = {
        "tls.crt": leaf.cert_chain_pems[0].bytes(),
        "tls.key": leaf.private_key_pem.bytes(),
        "ca.crt": ca,
    }
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": _SECRET},
        "data": {name: base64.b64encode(value).decode() for name, value in files.items()},
    }
    cluster.kubectl.apply(secret, namespace=_NAMESPACE)
    with _replicas(cluster, account) as replicas:
        _configure(cluster, replicas)
        for one in replicas:
            one.wait_for("ready")
        assert len(_cas(cluster)) == 1
        _wait_until_called(cluster)


def test_what_the_api_server_answers_a_patch(cluster: ControlPlane, account: Path) -> None:
    """A ``test`` that fails is a conflict, and reading again ends it; a wrong object is none."""
    cluster.kubectl.apply(configuration("127.0.0.1", b""))
    host, _, port = cluster.url.removeprefix("https://").partition(":")
    path = f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{NAME}"

    async def answer(operation: Mapping[str, object]) -> ApiServerError:
        async with ApiServer(ApiServerAddress(host, int(port), account)) as api:
            with pytest.raises(ApiServerError) as caught:
                await api.patch(path, [operation])
        return caught.value

    version = {"op": "test", "path": "/metadata/resourceVersion", "value": "1"}
    assert asyncio.run(answer(version)).is_conflict
    late = {"op": "replace", "path": "/webhooks/0/timeoutSeconds", "value": 99}
    wrong = asyncio.run(answer(late))
    assert (wrong.status, wrong.is_conflict) == (422, False)
    assert "webhooks[0].timeoutSeconds: Invalid value: 99" in str(wrong)


def _bundles(cluster: ControlPlane) -> int:
    entries = cluster.kubectl.get("mutatingwebhookconfiguration", NAME)["webhooks"]
    return len({entry["clientConfig"].get("caBundle") for entry in entries})


def test_rights_are_no_wider_than_its_own_objects(cluster: ControlPlane, account: Path) -> None:
    who = f"--as=system:serviceaccount:{_NAMESPACE}:osm-healthcheck-injector"
    config, secret = "mutatingwebhookconfigurations", "secrets"

    def may(verb: str, what: str, namespace: str = _NAMESPACE) -> bool:
        done = cluster.kubectl.run("auth", "can-i", verb, what, who, "-n", namespace)
        return done.stdout.strip() == "yes"

    assert may("get", f"{secret}/{_SECRET}")
    assert may("update", f"{secret}/{_SECRET}")
    assert may("create", secret)
    assert may("patch", f"{config}/{NAME}")
    for verb, what, namespace in (
        ("get", f"{secret}/other", _NAMESPACE),
        ("list", secret, _NAMESPACE),
        ("get", f"{secret}/{_SECRET}", "default"),
        ("create", secret, "default"),
        ("patch", f"{config}/istio-sidecar-injector", _NAMESPACE),
        ("list", config, _NAMESPACE),
        ("get", "pods", _NAMESPACE),
    ):
        assert not may(verb, what, namespace), (verb, what, namespace)


def test_without_the_api_server_what_is_served_still_is(tmp_path: Path) -> None:
    folder = tmp_path / "control-plane"
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        with control_plane(folder) as cluster:
            shared = _replicas(
                cluster, _account(cluster, tmp_path), "--certificate-lifetime", "120"
            )
            [one, *_] = replicas = stack.enter_context(shared)
            _configure(cluster, replicas)
            one.wait_for("ready")
        line = one.wait_for("certificate cannot be kept")
        assert "the API server: GET " in line["error"]
        assert _reason(one) == b"Service is ready"
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(one.address, WEBHOOK, context=context, timeout=20)
        with contextlib.closing(connection):
            connection.request("GET", "/healthz")
            assert connection.getresponse().read() == b"Health OK"
