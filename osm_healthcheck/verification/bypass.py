"""Whether something keeps the redirect of the pod's mesh off our ports."""

from collections.abc import Iterable, Sequence

from osm_healthcheck.injection.mesh import Mesh, covers
from osm_healthcheck.injection.pods import INIT_CONTAINER, SIDECAR, Pod
from osm_healthcheck.verification.containers import init_state
from osm_healthcheck.verification.findings import Finding, good, unsure, wrong

# Open Service Mesh, osm-edge and FSM leave our ports alone by their own init containers.
_OWN_INIT = {"envoy": ("osm-init",), "sidecar": ("osm-init", "fsm-init")}
# consul-k8s before 1.0
_OLD_NAMES = {"envoy-sidecar": "consul-dataplane"}
_AGAIN = "inject the manifest again"


def meshes_around(pod: Pod, meshes: Sequence[Mesh]) -> Sequence[Mesh]:
    """Those that may be around the pod: the ones whose proxies are in it, else all of them.

    None where the proxy is one whose mesh leaves our ports alone by itself.
    """
    names = {container.name for container in pod.containers if pod.is_mesh_container(container)}
    proxies = {_OLD_NAMES.get(name, name) for name in names}
    if found := [mesh for mesh in meshes if mesh.proxy in proxies]:
        return found
    return [] if proxies & _OWN_INIT.keys() else meshes


def bypass_findings(
    pod: Pod, ports: Sequence[int], meshes: Sequence[Mesh], *, elsewhere: bool
) -> list[Finding]:
    """Whether something keeps the redirect of the mesh around ``pod`` off ``ports``.

    ``elsewhere`` says that something outside the pod does so.
    """
    around = meshes_around(pod, meshes)
    proxies = {mesh.proxy for mesh in around if pod.container(mesh.proxy)}
    if pod.container(INIT_CONTAINER) is not None:
        return init_state(pod, INIT_CONTAINER)
    if len(proxies) > 1:  # each has its own redirect
        return [one for mesh in around for one in _by_annotation(pod, ports, [mesh], elsewhere)]
    for name in _own_init(pod, proxies):
        return init_state(pod, name)
    return _by_annotation(pod, ports, around, elsewhere)


def users_findings(pod: Pod, meshes: Iterable[Mesh], user: object) -> list[Finding]:
    """Whether a mesh that redirects what a pod says to its own address leaves ``user`` alone.

    ``user`` is our container's, and is not known where that does not say.
    """
    findings = []
    for mesh in meshes:
        if not mesh.users or not pod.container(mesh.proxy) or user is None:
            continue
        value = pod.annotations.get(mesh.users)
        listed = [one.strip() for one in value.split(",")] if isinstance(value, str) else []
        if str(user) not in listed:
            text = f"{mesh.users} does not name {user}, the user of {SIDECAR}"
            findings.append(wrong("bypass", f"{text}: {mesh.title} takes what it asks", _AGAIN))
    return findings


def _own_init(pod: Pod, proxies: Iterable[str]) -> Iterable[str]:
    if not set(proxies):
        for names in _OWN_INIT.values():
            yield from (name for name in names if pod.container(name) is not None)


def _by_annotation(
    pod: Pod, ports: Sequence[int], meshes: Sequence[Mesh], elsewhere: bool
) -> list[Finding]:
    subject, listed = "bypass", ", ".join(map(str, ports))
    lacking = ""
    for mesh in meshes:
        if not mesh.ports or (value := pod.annotations.get(mesh.ports)) is None:
            continue
        missing = [str(port) for port in ports if not covers(value, port)]
        if not missing:
            return [good(subject, f"{mesh.ports} names {listed}")]
        lacking = lacking or f"{mesh.ports} does not name {', '.join(missing)}"
    if lacking and not elsewhere:
        return [wrong(subject, lacking, _AGAIN)]
    if elsewhere:
        return [unsure(subject, "neither an annotation nor an init container: left to others")]
    named = [mesh for mesh in meshes if pod.container(mesh.proxy)]
    whose = f"{named[0].title}'s" if named else "the mesh's"
    advice = f"inject with --mesh {named[0].name}" if named else "inject with --mesh"
    return [
        wrong(
            subject,
            f"nothing keeps {whose} redirect off {listed}",
            f"{advice}, or verify --no-init where something else does it",
        )
    ]
