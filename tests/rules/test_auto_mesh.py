"""``--mesh auto``: which mesh shows in a manifest, and what is said where none or two do."""

from typing import Any

import pytest

from osm_healthcheck.errors import Validation
from osm_healthcheck.injection.auto_mesh import MeshFinder, NoMesh
from osm_healthcheck.injection.pods import pods_in
from osm_healthcheck.mesh.annotations import MESHES
from tests.rules.manifests import HTTP, after, app, pod

OWN = "healthcheck.openservicemesh.io/mesh"
ISTIO_ON = {"istio-injection": "enabled"}


def namespace(name: str = "shop", **metadata: object) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, **metadata}}


def found(manifest: Any, *before: Any) -> str:
    """The name of the mesh; or why there is none, with a minus in front of a mistake."""
    finder = MeshFinder(MESHES.values())
    for one in before:
        finder.remember_namespaces(one)
    [one] = pods_in(manifest, Validation())
    mesh = finder.mesh_of(one)
    if isinstance(mesh, NoMesh):
        return mesh.reason if mesh.is_wanted else f"- {mesh.reason}"
    return mesh.name


def labelled(field: str = "labels", **entries: str) -> dict[str, Any]:
    manifest = pod(app(livenessProbe=HTTP))
    manifest["metadata"][field] = entries
    return manifest


@pytest.mark.parametrize(
    ("field", "key", "value", "mesh"),
    [
        ("labels", "sidecar.istio.io/inject", "true", "istio"),
        ("annotations", "sidecar.istio.io/inject", "Yes", "istio"),
        ("labels", "istio.io/rev", "1-27", "istio"),
        ("annotations", "proxy.istio.io/config", "{}", "istio"),
        ("labels", "kuma.io/sidecar-injection", "enabled", "kuma"),
        ("annotations", "kuma.io/mesh", "default", "kuma"),
        ("annotations", "linkerd.io/inject", "ingress", "linkerd"),
        ("annotations", "config.linkerd.io/proxy-cpu-request", "1", "linkerd"),
        ("annotations", "consul.hashicorp.com/connect-inject", "true", "consul"),
        ("annotations", "openservicemesh.io/sidecar-injection", "enabled", "osm"),
        ("annotations", "flomesh.io/sidecar-injection", "yes", "osm"),
        ("labels", OWN, "none", "none"),
    ],
)
def test_a_pod_shows_its_mesh(field: str, key: str, value: str, mesh: str) -> None:
    assert found(labelled(field, **{key: value})) == mesh
    if not key.endswith(("/config", "kuma.io/mesh", "cpu-request")):
        assert found(pod(app()), namespace("shop", **{field: {key: value}})) == mesh


@pytest.mark.parametrize("mesh", [name for name in MESHES if MESHES[name].ports])
def test_what_injection_wrote_shows_the_mesh(mesh: str) -> None:
    assert found(after(pod(app(livenessProbe=HTTP)), mesh)) == mesh


@pytest.mark.parametrize("name", ["istio-proxy", "kuma-sidecar", "linkerd-proxy", "osm-init"])
def test_a_container_that_a_mesh_adds_shows_it(name: str) -> None:
    mesh = name.partition("-")[0]
    assert found(pod(app(), app(name))) == mesh
    # whatever else is said
    kept_out = labelled(**{"sidecar.istio.io/inject": "false"})
    kept_out["spec"]["initContainers"] = [app(name)]
    assert found(kept_out) == mesh


def test_only_the_pods_own_namespace_counts() -> None:
    istio = namespace(labels=ISTIO_ON)
    listed = {"apiVersion": "v1", "kind": "List", "items": [istio, namespace("other")]}
    assert found(pod(app()), istio) == found(pod(app()), listed) == "istio"
    assert found(pod(app()), namespace("other", labels=ISTIO_ON)).startswith("- no mesh shows")
    nameless = pod(app())
    del nameless["metadata"]["namespace"]
    assert found(nameless, istio).startswith("- no mesh shows")


def test_where_none_shows_the_choices_are_named() -> None:
    reason = found(pod(app()))
    assert 'put its Namespace "shop" before it' in reason
    assert "--mesh istio|kuma|linkerd|consul|osm|none" in reason
    assert found(labelled(**{OWN: "mine"})).startswith(f'- the label {OWN}: "mine" names no mesh')


def test_where_two_show_both_are_named() -> None:
    reason = found(
        labelled(**{"istio.io/rev": "a"}), namespace(annotations={"linkerd.io/inject": "enabled"})
    )
    assert reason == (
        "- more than one mesh shows: istio by the label istio.io/rev of the Pod, linkerd by "
        'linkerd.io/inject: "enabled" of the Namespace shop; name one with --mesh'
    )
    named = labelled(**{"istio.io/rev": "a", OWN: "linkerd"})
    assert found(named) == "linkerd"


def test_a_pod_may_be_kept_out_of_a_mesh() -> None:
    out = labelled(**{"sidecar.istio.io/inject": "false"})
    reason = 'no mesh: sidecar.istio.io/inject: "false" of the Pod keeps it out of one'
    assert found(out, namespace(labels=ISTIO_ON)) == reason
    # of one mesh, and in another one
    assert found(out, namespace(annotations={"linkerd.io/inject": "enabled"})) == "linkerd"


def test_a_namespace_may_keep_its_pods_out_of_a_mesh() -> None:
    out = namespace(labels={"istio-injection": "disabled"})
    reason = 'no mesh: istio-injection: "disabled" of the Namespace shop keeps it out of one'
    assert found(pod(app()), out) == reason
    # the pod's own word counts for more
    assert found(labelled(**{"sidecar.istio.io/inject": "true"}), out) == "istio"
    # and a Namespace that says nothing is not asked for again
    silent = found(pod(app()), namespace())
    assert silent.startswith('- no mesh shows in the manifest or on its Namespace "shop": choose')
