"""Manifests of pods in short, and what inject makes of them."""

from typing import Any

import pytest

from osm_healthcheck.errors import InvalidInputError
from osm_healthcheck.injection.inject import inject
from tests.manifests.strategies import injection

TCP = {"tcpSocket": {"port": 8080}}
HTTP = {"httpGet": {"path": "/", "port": 8080}}


def pod(*containers: dict[str, Any], init: Any = None, **spec: Any) -> dict[str, Any]:
    if init is not None:
        spec["initContainers"] = init
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {**spec, "containers": list(containers)},
    }


def app(name: str = "app", **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": name, **fields}


def after(manifest: dict[str, Any], mesh: str = "none", **options: Any) -> Any:
    return inject(manifest, injection(mesh, **options)).manifest


def refused(manifest: dict[str, Any], mesh: str = "none", **options: Any) -> list[str]:
    with pytest.raises(InvalidInputError) as caught:
        inject(manifest, injection(mesh, **options))
    return [str(error) for error in caught.value.errors]


def warnings(manifest: dict[str, Any], mesh: str = "none", **options: Any) -> list[str]:
    return [str(one) for one in inject(manifest, injection(mesh, **options)).warnings]


def names(listed: list[dict[str, Any]]) -> list[str]:
    return [one["name"] for one in listed]
