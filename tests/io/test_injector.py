"""The webhook on the wire: real TLS, real HTTP, the process that an image runs."""

import contextlib
import copy
import json
import resource
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from osm_healthcheck.cli import inject
from osm_healthcheck.errors import Validation
from osm_healthcheck.injection.pods import SIDECAR, pods_in
from osm_healthcheck.injector.body_reader import MAX_BODY_BYTES
from osm_healthcheck.injector.json_patch import apply
from tests.io.admission_load import Load
from tests.io.injector import HEALTH, PATH, WEBHOOK, Injector, injector, patch_of, review
from tests.io.injector import write_certificate as new_certificate
from tests.io.tls import authority
from tests.io.wire import connect, get, own_address, read_to_end

_MANIFESTS = Path(__file__).parents[1] / "manifests"
_MESHES = ("istio", "kuma", "linkerd", "consul", "none")
_POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web"},
    "spec": {"containers": [{"name": "app", "livenessProbe": {"httpGet": {"port": 8080}}}]},
}
_BY_NODE = ("--proxy", "node", "--node-fallback", "sidecar")
_JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def running() -> Iterator[Injector]:
    with injector() as one:
        yield one


def _pods() -> Iterator[Any]:
    """Every pod in tests/manifests, those of workloads as their controllers create them."""
    for path in sorted((_MANIFESTS / "golden").iterdir()):
        text = path.read_text()
        documents = yaml.safe_load_all(text.replace("}\n\n{", "}\n---\n{"))
        for pod in pods_in(
            {"apiVersion": "v1", "kind": "List", "items": list(filter(None, documents))},
            Validation(),
        ):
            metadata: Any = pod.value.get("metadata") or {}
            value = {**pod.value, "metadata": {"generateName": "web-", **metadata}}
            value |= {"apiVersion": "v1", "kind": "Pod"}
            yield json.loads(json.dumps(value))  # where YAML has aliases, two copies
    for case in yaml.safe_load((_MANIFESTS / "cases.yaml").read_text()):
        given = case.get("input")
        spec = given.get("spec") if isinstance(given, dict) else None
        if isinstance(spec, dict):
            yield {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "case"}, "spec": spec}


@pytest.fixture(scope="module")
def by_node() -> Iterator[Injector]:
    with injector(*_BY_NODE) as one:
        yield one


@pytest.mark.parametrize(
    ("which", "mesh", "options"),
    [("running", mesh, ()) for mesh in _MESHES]
    + [("by_node", mesh, _BY_NODE) for mesh in ("linkerd", "none")],
)
def test_every_pod_becomes_what_the_command_makes_of_it(
    which: str,
    mesh: str,
    options: tuple[str, ...],
    request: pytest.FixtureRequest,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    running: Injector = request.getfixturevalue(which)
    file, seen = tmp_path / "pod.json", 0
    for pod in _pods():
        response = running.admit(pod, mesh)
        assert response["allowed"]
        after = apply(copy.deepcopy(pod), patch_of(response))
        warnings = response.get("warnings", [])
        if SIDECAR in [
            one.name for found in pods_in(pod, Validation()) for one in found.containers
        ]:
            assert after == pod  # our version, or a newer one
            continue
        if any("is in the pod already" in one for one in warnings):
            assert after == pod
            continue
        file.write_text(json.dumps(pod))
        capsys.readouterr()
        code = inject.run([*options, "--mesh", mesh, "-o", "json", str(file)])
        said = capsys.readouterr()
        assert after == (json.loads(said.out) if code == 0 else pod)
        # what the command says on stderr is said by warnings, but for its own last line, and
        # what holds for every pod of a mesh, which no pod's author is told; why a pod is left as
        # it is stands in the line of that pod
        lines = [line for line in said.err.splitlines() if ": document 1 (line 1): " in line]
        for line, warning in zip(lines, warnings, strict=False):
            text = line.partition(": document 1 (line 1): ")[2].partition(": ")[2]
            # what is longer than 256 characters is cut
            kept = warning.removeprefix("osm-healthcheck: ").removesuffix("…")
            assert text.replace("warning: ", "", 1).startswith(kept)
        assert len(warnings) == len(lines) + (code != 0 or " skipped: " in said.err)
        seen += 1
    assert seen > 25


def test_a_dry_run_is_the_same_as_a_run(running: Injector) -> None:
    assert running.admit(_POD, "istio", dryRun=True) == running.admit(_POD, "istio")


def test_without_a_mesh_in_the_path_it_is_that_of_the_option() -> None:
    with injector("--mesh", "linkerd") as one:
        assert one.admit(_POD) == one.admit(_POD, "linkerd")
        assert one.admit(_POD) != one.admit(_POD, "kuma")


def test_deny() -> None:
    bad = copy.deepcopy(_POD)
    bad["spec"]["containers"][0]["livenessProbe"]["httpGet"]["port"] = "http"  # type: ignore[index]
    with injector("--on-invalid", "deny") as one:
        response = one.admit(bad)
        assert one.admit(_POD)["allowed"]
    assert not response["allowed"]
    assert response["status"]["code"] == 422
    assert response["status"]["message"].startswith('Pod "web" is invalid: spec.containers[0].')


_GOOD = json.dumps(review(_POD)).encode()


@pytest.mark.parametrize(
    ("status", "text", "more"),
    [
        (400, "body: is not JSON", {"body": b"{"}),
        (400, "body: is not JSON", {"body": b"\xff\xfe\x00"}),
        (400, "body: is not JSON: nested too deeply", {"body": b"[" * 100_000}),
        (400, "body: must be an AdmissionReview", {"body": b"[]"}),
        (
            400,
            "request: Required value",
            {"body": json.dumps({**review(0), "request": 1}).encode()},
        ),
        (400, "request.uid: Required value", {"body": json.dumps(review(_POD, uid="")).encode()}),
        (
            400,
            'apiVersion: Unsupported value: "admission.k8s.io/v1beta1": supported values: "admis',
            {"body": _GOOD.replace(b"k8s.io/v1", b"k8s.io/v1beta1")},
        ),
        (400, "kind: Unsupported value", {"body": _GOOD.replace(b"AdmissionReview", b"Review")}),
        (404, "no mesh of that name: istio, kuma,", {"path": f"{PATH}/osm", "body": _GOOD}),
        (404, "no such path", {"path": "/mutate", "body": _GOOD}),
        (405, "is for POST", {"method": "GET"}),
        (405, "ask with GET or HEAD", {"method": "POST", "path": "/healthz"}),
        (413, "body: must be at most", {"body": b" " * (MAX_BODY_BYTES + 1)}),
        (415, "Content-Type: must be application/json", {"headers": {}, "body": _GOOD}),
        (415, "Content-Type", {"headers": {"Content-Type": "text/plain"}, "body": _GOOD}),
    ],
)
def test_what_is_no_review_gets_a_clear_answer(
    running: Injector, status: int, text: str, more: dict[str, Any]
) -> None:
    found, said = running.request(**more)
    assert (found, text in said) == (status, True), said
    assert len(said) < 1100
    assert running.request(body=_GOOD)[0] == 200


def test_a_pod_of_three_megabytes(running: Injector) -> None:
    pod = copy.deepcopy(_POD)
    pod["metadata"]["annotations"] = {"big": "x" * (3 << 20)}  # type: ignore[index]
    response = running.admit(pod)
    assert apply(pod, patch_of(response))["metadata"]["annotations"]["big"] == "x" * (3 << 20)


@pytest.mark.parametrize(
    "garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05garbage", b"\0"]
)
def test_what_is_no_tls_is_closed(running: Injector, garbage: bytes) -> None:
    with connect(running.address, WEBHOOK) as sock:
        sock.sendall(garbage)
        sock.shutdown(socket.SHUT_WR)
        assert b"HTTP/1.1" not in read_to_end(sock)[0]
    assert running.admit(_POD)["allowed"]


def test_a_client_certificate_and_a_wrong_host_make_no_difference(running: Injector) -> None:
    context = ssl.create_default_context()
    authority().configure_trust(context)
    authority().issue_cert("somebody.example").configure_cert(context)
    with (
        connect(running.address, WEBHOOK) as raw,
        context.wrap_socket(raw, server_hostname=running.address) as sock,
    ):
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: wrong.example:1\r\nConnection: close\r\n\r\n")
        assert read_to_end(sock)[0].endswith(b"\r\n\r\nHealth OK")


@pytest.mark.parametrize("callers", [400, pytest.param(10_000, marks=pytest.mark.slow)])
def test_silent_callers_take_nobodys_place(running: Injector, callers: int) -> None:
    """More of them than there are places: some before TLS, some within a head or a body."""
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files < callers + 100:
        if most < callers + 100:
            pytest.skip(f"at most {most} files, and each caller takes one")
        resource.setrlimit(resource.RLIMIT_NOFILE, (callers + 100, most))
    context = ssl.create_default_context()
    authority().configure_trust(context)
    beginnings = (b"", b"POST / HT", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n{")
    with contextlib.ExitStack() as stack:
        for number in range(callers):
            sock = stack.enter_context(connect(running.address, WEBHOOK))
            if number % 4 == 0:
                continue
            if number % 4 == 1:
                sock.sendall(b"\x16\x03\x01")
                continue
            with contextlib.suppress(OSError):
                wrapped = context.wrap_socket(sock, server_hostname=running.address)
                stack.enter_context(wrapped).sendall(beginnings[number % 3])
        for _ in range(20):
            assert running.admit(_POD)["allowed"]
        # 256 connections, and what the process has open otherwise
        assert len(list(Path(f"/proc/{running.popen.pid}/fd").iterdir())) < 300


def test_idle_callers_make_room_before_one_whose_request_is_on_its_way(running: Injector) -> None:
    body = json.dumps(review(_POD)).encode()
    with contextlib.ExitStack() as stack:
        busy = stack.enter_context(contextlib.closing(running.connect()))
        busy.putrequest("POST", PATH)
        busy.putheader("Content-Type", "application/json")
        busy.putheader("Content-Length", str(len(body)))
        busy.endheaders(body[:10])
        for _ in range(260):
            idle = stack.enter_context(contextlib.closing(running.connect()))
            idle.request("GET", "/healthz")
            assert idle.getresponse().read() == b"Health OK"
        busy.send(body[10:])
        # On a slow machine its time is up by now: that, too, is an answer on a connection that is.
        assert busy.getresponse().status in (200, 408)


def test_health_is_to_the_letter_what_osms_control_plane_answers(running: Injector) -> None:
    answer = get(running.address, HEALTH, "/health/alive")
    head, _, body = answer.raw.decode().partition("\r\n\r\n")
    lines = head.split("\r\n")
    assert lines[0] == "HTTP/1.1 200 OK"
    assert [line.partition(":")[0] for line in lines[1:4]] == [
        "Date",
        "Content-Length",
        "Content-Type",
    ]
    assert lines[2:4] == ["Content-Length: 16", "Content-Type: text/plain; charset=utf-8"]
    assert body == "Service is alive"
    ready = get(running.address, HEALTH, "/health/ready")
    assert (ready.status, ready.body) == (200, b"Service is ready")
    assert get(running.address, HEALTH, "/healthz").status == 200
    assert running.request("GET", "/healthz", headers={}) == (200, "Health OK")
    assert json.loads(get(running.address, HEALTH, "/version").body)["version"]
    assert get(running.address, HEALTH, "/nothing").status == 404
    assert get(running.address, HEALTH, "/health/ready", method="POST").status == 405


def test_metrics_count_admissions_by_what_they_came_to(running: Injector) -> None:
    def counted() -> dict[str, float]:
        text = get(running.address, HEALTH, "/metrics").body.decode()
        lines = [line.rpartition(" ") for line in text.splitlines() if line[:1] != "#"]
        return {name: float(value) for name, _, value in lines}

    name = 'osm_healthcheck_injector_admissions_total{mesh="consul",outcome="injected"}'
    before = counted().get(name, 0.0)
    running.admit(_POD, "consul")
    label = {"labels": {"healthcheck.openservicemesh.io/mesh": "consul"}}
    running.admit({**_POD, "metadata": {"name": "web", **label}})
    after = counted()
    assert after[name] == before + 2
    assert after["osm_healthcheck_injector_ready"] == 1
    assert after["osm_healthcheck_injector_certificate_expiry_timestamp_seconds"] > 1e9


def test_not_ready_without_a_certificate_and_says_so(tmp_path: Path) -> None:
    with injector(pair=False) as one:
        one.wait_for("certificate cannot be served")
        answer = get(one.address, HEALTH, "/health/ready")
        assert answer.status == 503
        assert answer.body.decode() == (
            f"Service is not ready: no certificate: {one.directory}/tls.crt: No such file or "
            "directory"
        )
        assert get(one.address, HEALTH, "/health/alive").status == 200
        new_certificate(one.directory, one.address)
        one.wait_for("ready")
        assert get(one.address, HEALTH, "/health/ready").status == 200
        assert one.admit(_POD)["allowed"]


def test_a_renewed_certificate_is_served_and_no_request_is_lost() -> None:
    with injector() as one, Load(one) as load:
        first = certificate_of(one)
        for number in range(3):
            # one file, then the other: for a moment the two are no pair
            new_certificate(one.directory, one.address)
            one.wait_for("certificate in use", times=2 + number)
        assert certificate_of(one) != first
    assert not load.failures


def test_a_pair_that_does_not_match_changes_nothing() -> None:
    with injector() as one:
        first = certificate_of(one)
        key = (one.directory / "tls.key").read_bytes()
        new_certificate(one.directory, one.address)
        line = one.wait_for("certificate in use", times=2)
        assert datetime.fromisoformat(line["expires"]) > datetime.now(UTC)
        second = certificate_of(one)
        (one.directory / "tls.key").write_bytes(key)
        line = one.wait_for("certificate cannot be served")
        assert line["error"] == "tls.key is not the key of tls.crt"
        assert first != certificate_of(one) == second
        assert get(one.address, HEALTH, "/health/ready").status == 200


def test_sigterm_under_load_fails_no_admission() -> None:
    """Two replicas, as behind a Service: one ends, and callers go to the other one."""
    with injector("--drain", "5") as leaving, injector() as staying:
        with Load(leaving, staying) as load:
            leaving.signal(signal.SIGTERM)
            leaving.wait_for("ending")
            answer = get(leaving.address, HEALTH, "/health/ready")
            assert answer.status == 503
            assert answer.body == b"Service is not ready: it is ending"
            assert get(leaving.address, HEALTH, "/health/alive").status == 200
            load.leave(leaving)
            assert leaving.wait() == 0
        assert not load.failures
    assert not [line for line in leaving.lines if line["level"] == "error"]


def test_sigint_ends_at_once() -> None:
    with injector("--drain", "1000") as one:
        one.signal(signal.SIGINT)
        assert one.wait() == 0


def certificate_of(one: Injector) -> bytes:
    """What a new connection is shown."""
    with contextlib.closing(one.connect()) as connection:
        connection.connect()
        found = connection.sock.getpeercert(binary_form=True)
        assert isinstance(found, bytes)
        return found


def test_without_an_api_server_it_is_not_ready_and_says_so(tmp_path: Path) -> None:
    for name in ("token", "namespace"):
        (tmp_path / name).write_text("x")
    (tmp_path / "ca.crt").write_bytes(authority().cert_pem.bytes())
    own = ["--certificate", "self", "--service-account", str(tmp_path)]
    environ = {"KUBERNETES_SERVICE_HOST": own_address(), "KUBERNETES_SERVICE_PORT": "1"}
    with injector(*own, pair=False, environ=environ) as one:
        line = one.wait_for("certificate cannot be kept")
        path = "/api/v1/namespaces/x/secrets/osm-healthcheck-injector-certificate"
        assert line["error"].startswith(f"the API server: GET {path}: Cannot connect")
        answer = get(one.address, HEALTH, "/health/ready")
        assert answer.status == 503
        assert answer.body.startswith(b"Service is not ready: no certificate: the API server")
        assert get(one.address, HEALTH, "/health/alive").status == 200


def test_cryptography_is_loaded_when_a_certificate_is_made_alone() -> None:
    code = (
        "import sys, osm_healthcheck.injector.serve, osm_healthcheck.injector.shared_certificate\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "aiohttp" in loaded
    assert not loaded & {"cryptography", "yaml", "h2"}
