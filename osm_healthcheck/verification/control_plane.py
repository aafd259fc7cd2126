"""A pod of a control plane: no proxy belongs into it, whichever mesh's."""

import re
from collections.abc import Iterator

from osm_healthcheck.injection.auto_mesh import MeshFinder
from osm_healthcheck.injection.pods import PROXIES, Container, Pod
from osm_healthcheck.verification.containers import not_ready, other_containers
from osm_healthcheck.verification.findings import Finding, good, wrong

# flomesh/pipy, envoyproxy/envoy, istio/proxyv2, linkerd/proxy, kumahq/kuma-dp,
# hashicorp/consul-dataplane: the last part, as registries are many
_PROXY_IMAGE = re.compile(
    r"(.*/)?(pipy|envoy|envoy-distroless|proxyv2|linkerd/proxy|kuma-dp|consul-dataplane)([:@].*)?"
)


def control_plane_findings(pod: Pod, title: str, finder: MeshFinder) -> list[Finding]:
    """The checks of a pod of ``title``'s control plane; ``finder`` knows the Namespaces."""
    findings = list(_proxies(pod, title)) or [
        good("pod", f"is of the control plane of {title}, and no proxy is in it")
    ]
    listed = finder.meshes_of_namespace(pod.namespace)
    findings += [_listed(pod.namespace, mesh, by) for mesh, by in listed.items()]
    return [*findings, *other_containers(pod), *not_ready(pod)]


def _listed(namespace: str, mesh: str, by: str) -> Finding:
    return wrong(
        "namespace",
        f"{namespace} is listed for {mesh}'s injection ({by}), and a control plane is in it",
        f"remove that, or annotate the namespace to be left out by {mesh}",
    )


def _proxies(pod: Pod, title: str) -> Iterator[Finding]:
    where = f"namespace {pod.namespace}" if pod.namespace else "its namespace"
    for container in pod.containers:
        if _is_proxy(container):
            yield wrong(
                container.name,
                f"is a proxy ({container.value.get('image')}), in a pod of the control plane of "
                f"{title}: a mesh has injected it by mistake",
                f"take {where} out of the injection of every mesh, and create the pod anew",
            )


def _is_proxy(container: Container) -> bool:
    if container.name in PROXIES:
        return True
    return _PROXY_IMAGE.fullmatch(str(container.value.get("image"))) is not None
