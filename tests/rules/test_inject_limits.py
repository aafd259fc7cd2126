"""What the sidecar cannot answer, or the API server not take, is refused by name and place."""

import json
from typing import Any

import pytest

from osm_healthcheck.injection.limits import HEAD_BYTES
from tests.rules.manifests import after, app, pod, refused


def _http(*headers: tuple[str, str], **more: Any) -> dict[str, Any]:
    listed = [{"name": name, "value": value} for name, value in headers]
    return {"httpGet": {"port": 8080, "httpHeaders": listed, **more}}


def _grpc(service: str) -> dict[str, Any]:
    return {"grpc": {"port": 50051, "service": service}}


_LONG = _http(("X-Long", "x" * HEAD_BYTES))


@pytest.mark.parametrize(
    ("probe", "options", "where", "problem"),
    [
        (_LONG, {}, "httpGet.httpHeaders", "Too long: "),
        (_http(*[("X-A", "é" * 40)] * 100), {}, "httpGet.httpHeaders", "Too long: "),
        (_http(("Host", "h" * 9000)), {}, "httpGet.httpHeaders", "Too long: "),
        (
            _http(("X-Long", "x" * HEAD_BYTES), scheme="HTTPS"),
            {"https": "request"},
            "httpGet.httpHeaders",
            "Too long: ",
        ),
        (_grpc("a" * 9000), {}, "grpc.service", "Too long: "),
        (_grpc("ä" * 4500), {}, "grpc.service", "Too long: "),
        (_grpc("my\u00a0service"), {}, "grpc.service", 'Invalid value: "my\\u00a0service"'),
        (_grpc("my\u200bservice"), {}, "grpc.service", 'Invalid value: "my\\u200bservice"'),
        (_grpc("my\u2028service"), {}, "grpc.service", 'Invalid value: "my\\u2028service"'),
        (_grpc("\ud800"), {}, "grpc.service", 'Invalid value: "\\ud800"'),
        (_grpc("a\nb"), {}, "grpc.service", 'Invalid value: "a\\nb"'),
        (_grpc(" a"), {}, "grpc.service", 'Invalid value: " a"'),
        (
            _http(("Content-Type", "a"), ("content-type", "b")),
            {},
            "httpGet.httpHeaders",
            'Duplicate value: "Content-Type"',
        ),
        (
            _http(("ETag", "a"), ("X", "1"), ("ETAG", "a")),
            {},
            "httpGet.httpHeaders",
            'Duplicate value: "Etag"',
        ),
        (
            _http(("Sec-WebSocket-Key1", "")),
            {},
            "httpGet.httpHeaders",
            'Forbidden: "Sec-Websocket-Key1"',
        ),
    ],
)
def test_a_request_that_the_sidecar_would_refuse_is_refused(
    probe: Any, options: dict[str, Any], where: str, problem: str
) -> None:
    [error] = refused(pod(app(livenessProbe=probe)), **options)
    assert error.startswith(f"Pod shop/web: app.livenessProbe.{where}: {problem}"), error
    assert "\n" not in error
    assert len(error) < 400, "the message must not hold what is too long"


@pytest.mark.parametrize(
    ("probe", "options"),
    [
        # TLS that is passed through has no head here
        (_http(("X-Long", "x" * HEAD_BYTES), scheme="HTTPS"), {}),
        # the kubelet sends the first of these only
        (_http(("Host", "a"), ("Host", "b")), {}),
        (_http(("User-Agent", "a"), ("user-agent", "b")), {}),
        (_http(("Content-Length", "1"), ("Content-Length", "2")), {}),
        # many times is fine in HTTP
        (_http(("Accept", "a"), ("Accept", "b"), ("Cookie", "a"), ("Cookie", "b")), {}),
        (_grpc("мой.Сервис"), {}),
        # the mesh's proxy answers it
        (_LONG, {"proxy": "mesh"}),
    ],
)
def test_what_the_sidecar_takes_is_accepted(probe: Any, options: dict[str, Any]) -> None:
    assert after(pod(app(livenessProbe=probe)), **options)


def test_declared_probes_that_are_too_long_for_an_environment_variable() -> None:
    """``execve`` takes no string of more than 128 KiB: the container would never start."""
    probe = _http(("X-Long", "x" * 45_000), scheme="HTTPS")
    manifest = pod(app(livenessProbe=probe, readinessProbe=probe, startupProbe=probe))
    [error] = refused(manifest)
    assert error.startswith("Pod shop/web: Too long: its probes")


def test_annotations_that_the_api_server_would_not_take() -> None:
    """``ValidateAnnotations``: the names and values of all of them, 262,144 bytes."""
    manifest = pod(app(livenessProbe=_http()))
    manifest["metadata"]["annotations"] = {"a": ""}
    injected = after(manifest)["metadata"]["annotations"]
    size = sum(len(f"{name}{value}".encode()) for name, value in injected.items())
    manifest["metadata"]["annotations"] = {"a": "é" * ((262_144 - size) // 2)}
    assert after(manifest)
    manifest["metadata"]["annotations"] = {"a": "é" * ((262_144 - size) // 2) + "ab"}
    [error] = refused(manifest)
    assert error.startswith("Pod shop/web: metadata.annotations: Too long: may not be more than")
    assert json.dumps(error).isascii()


@pytest.mark.parametrize("kind", [None, "", 5, ["Pod"]])
def test_what_has_no_kind_is_no_object(kind: object) -> None:
    told = ["kind: Required value: this is not a Kubernetes object"]
    assert refused({"apiVersion": "v1", "kind": kind}) == told
