"""Resources: quantities are compared by their value, pods keep their QoS class and stay valid."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from osm_healthcheck.errors import Validation
from osm_healthcheck.injection.pods import pods_in
from osm_healthcheck.injection.quantity import quantity, written
from osm_healthcheck.injection.resources import Resources, is_guaranteed
from osm_healthcheck.injection.uninject import uninject
from tests.manifests.strategies import VERSION
from tests.rules.manifests import HTTP, after, app, pod, refused, warnings


def _guaranteed(manifest: Any) -> bool:
    [found] = pods_in(manifest, Validation())
    return is_guaranteed(found)


# k8s.io/apimachinery/pkg/api/resource/quantity_test.go
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", "1"),
        (1, "1"),
        (0.5, "0.5"),
        ("0.5", "0.5"),
        (".5", "0.5"),
        ("5.", "5"),
        ("+1", "1"),
        ("-1", "-1"),
        ("1000m", "1"),
        ("1500000u", "1.5"),
        ("1n", "0.000000001"),
        ("0.1n", "0.000000001"),
        ("1k", "1000"),
        ("1e3", "1000"),
        ("1E3", "1000"),
        ("1E", "1000000000000000000"),
        ("1Ei", "1152921504606846976"),
        ("1Gi", "1073741824"),
        ("1024Mi", "1073741824"),
        ("1.5Gi", "1610612736"),
        *((f"1{suffix}", f"1e{3 * power}") for power, suffix in enumerate("kMGTPE", 1)),
        *((f"1{suffix}i", str(1024**power)) for power, suffix in enumerate("KMGTPE", 1)),
    ],
)
def test_a_quantity_is_read_as_kubernetes_does(text: object, value: str) -> None:
    assert quantity(text) == Decimal(value)


@pytest.mark.parametrize(
    "text", ["", "1K", "1 Gi", "Gi", "1e", "one", None, True, [], "1mi", "٣", "1" * 64 + "Mi"]
)
def test_what_is_no_quantity(text: object) -> None:
    assert quantity(text) is None


@given(st.integers(0, 10**18), st.sampled_from(["n", "u", "m", "", "k", "Mi", "Gi"]))
def test_a_written_quantity_reads_back(number: int, suffix: str) -> None:
    value = quantity(f"{number}{suffix}")
    assert value is not None
    assert quantity(written(value)) == value


def _with(resources: Any) -> Any:
    return pod(app(livenessProbe=HTTP, resources=resources))


@pytest.mark.parametrize(
    ("resources", "guaranteed"),
    [
        (
            {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": 1, "memory": "1024Mi"}},
            True,
        ),
        (
            {
                "requests": {"cpu": "1000m", "memory": "1Gi"},
                "limits": {"cpu": 1.0, "memory": 1073741824},
            },
            True,
        ),
        ({"limits": {"cpu": "500m", "memory": "1Gi"}}, True),
        ({"requests": {"cpu": "0.5"}, "limits": {"cpu": "500m", "memory": "1Gi"}}, True),
        ({"requests": {"cpu": "499m"}, "limits": {"cpu": "500m", "memory": "1Gi"}}, False),
        ({"limits": {"cpu": "500m"}}, False),
        # a limit of 0 does not count (pkg/apis/core/v1/helper/qos)
        ({"limits": {"cpu": "0", "memory": "1Gi"}}, False),
        ({"limits": {"cpu": "-1", "memory": "1Gi"}}, False),
        ({"limits": {"cpu": "x", "memory": "1Gi"}}, False),
        ({}, False),
        (None, False),
    ],
)
def test_a_guaranteed_pod_stays_guaranteed(resources: Any, guaranteed: bool) -> None:
    manifest = _with(resources)
    assert _guaranteed(manifest) == guaranteed
    assert _guaranteed(after(manifest)) == guaranteed


# --- spec.resources -----------------------------------------------------------------------------


def _pod_level(resources: Any, of_container: Any = None) -> Any:
    return pod(app(livenessProbe=HTTP, resources=of_container), resources=resources)


def _own(manifest: Any) -> list[Any]:
    return [one.get("resources") for one in manifest["spec"]["initContainers"]]


def test_resources_of_the_pod_are_raised_by_what_is_added() -> None:
    manifest = _pod_level(
        {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": 1, "memory": "1Gi"}}
    )
    injected = after(manifest)
    assert injected["spec"]["resources"] == {
        "requests": {"cpu": "1010m", "memory": "1088Mi"},
        "limits": {"cpu": "1010m", "memory": "1088Mi"},
    }
    assert _guaranteed(injected)
    bypass, sidecar = _own(injected)
    assert bypass is None, "an init container of 64Mi may be more than all of the pod has"
    assert sidecar == {
        "requests": {"cpu": "10m", "memory": "64Mi"},
        "limits": {"memory": "64Mi"},
    }
    assert any("spec.resources" in one and "raised" in one for one in warnings(manifest))
    assert uninject(injected, VERSION).manifest == manifest


def test_resources_may_be_asked_for() -> None:
    asked = Resources(cpu="20m", memory="128Mi")
    bypass, sidecar = _own(after(_with({"requests": {"cpu": "1"}}), resources=asked))
    assert bypass == sidecar
    assert sidecar == {
        "requests": {"cpu": "20m", "memory": "128Mi"},
        "limits": {"memory": "128Mi"},
    }
    whole = _pod_level({"requests": {"memory": "1Gi"}, "limits": {"memory": "2Gi"}})
    injected = after(whole, resources=asked)
    assert injected["spec"]["resources"]["requests"] == {"memory": "1152Mi"}
    assert after(injected, resources=Resources()) == after(whole), "what was asked before goes"
    injected["spec"]["resources"]["limits"]["memory"] = "4Gi"
    back: Any = uninject(injected, VERSION).manifest
    assert back["spec"]["resources"]["limits"] == {"memory": "3968Mi"}, "less what was added then"


@pytest.mark.parametrize(("cpu", "limit"), [("20m", "100m"), ("0.1", "0.1"), ("1", "1")])
def test_a_guaranteed_pod_gets_a_limit_that_a_start_can_do_with(cpu: str, limit: str) -> None:
    injected = after(_with({"limits": {"cpu": "1", "memory": "1Gi"}}), resources=Resources(cpu))
    equal = {"cpu": limit, "memory": "64Mi"}
    assert _own(injected) == [{"requests": equal, "limits": equal}] * 2
    assert _guaranteed(injected)


def test_a_request_that_defaults_to_the_limit_of_the_pod_still_does() -> None:
    """``defaultPodRequests``: only where no container has a request of its own."""
    manifest = _pod_level({"limits": {"cpu": "1", "memory": "200M"}})
    injected = after(manifest)
    assert injected["spec"]["resources"] == {"limits": {"cpu": "1010m", "memory": "267108864"}}
    assert _own(injected) == [None, None]
    assert uninject(injected, VERSION).manifest == manifest
    injected = after(_pod_level({"limits": {"cpu": "1"}}, {"requests": {"cpu": "100m"}}))
    assert _own(injected)[1] == {
        "requests": {"cpu": "10m", "memory": "64Mi"},
        "limits": {"memory": "64Mi"},
    }


def test_an_edit_of_the_pods_resources_after_injection_is_kept() -> None:
    injected = after(_pod_level({"requests": {"memory": "1Gi"}, "limits": {"memory": "2Gi"}}))
    injected["spec"]["resources"]["limits"]["memory"] = "4Gi"
    injected["spec"]["resources"]["requests"]["memory"] = "1114112Ki"  # as it was written
    back: Any = uninject(injected, VERSION).manifest
    assert back["spec"]["resources"] == {
        "requests": {"memory": "1Gi"},
        "limits": {"memory": "4032Mi"},
    }
    del injected["spec"]["resources"]
    assert "resources" not in uninject(injected, VERSION).manifest["spec"]  # type: ignore[index]


@pytest.mark.parametrize("resources", [{}, None, {"requests": None}, {"requests": {}}])
def test_no_resources_of_the_pod(resources: Any) -> None:
    manifest = _pod_level(resources)
    injected = after(manifest)
    assert injected["spec"]["resources"] == resources
    assert uninject(injected, VERSION).manifest == manifest


def test_a_quantity_of_the_pod_that_is_none_is_an_error() -> None:
    [error] = refused(_pod_level({"requests": {"memory": "1K"}}))
    assert error.startswith('Pod shop/web: spec.resources.requests.memory: Invalid value: "1K"')
