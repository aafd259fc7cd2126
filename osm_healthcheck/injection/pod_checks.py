"""What in a pod does not go together with our containers."""

from collections.abc import Collection, Iterable
from typing import cast

from osm_healthcheck.errors import Validation
from osm_healthcheck.injection.mesh import Mesh
from osm_healthcheck.injection.opt_out import OSM_INJECTION, is_injected_by_osm
from osm_healthcheck.injection.original import OriginalProbe
from osm_healthcheck.injection.pods import Container, Manifest, Pod

# pkg/apis/core/validation: ValidatePodUpdate; pkg/apis/batch/validation: ValidateJobSpecUpdate
_UPDATES = {
    "Pod": "pod updates may not change fields other than spec.containers[*].image and a few others",
    "Job": "spec.template: field is immutable",
}


def check_containers(
    pod: Pod, ports: Collection[int], added: Collection[str], validation: Validation
) -> None:
    """No other container may have the name of one that is ``added``, or use one of our ``ports``.

    The containers of a pod share its ports.
    """
    for container in pod.containers:
        where = f"{pod.where}: {container.name}"
        if container.name in added:
            validation.error(
                f"{where}.name", "is not ours, but has the name of our container: rename it"
            )
        if pod.is_mesh_container(container):
            continue
        for port in container.ports():
            if port.get("containerPort") in ports and port.get("protocol") in (None, "", "TCP"):
                validation.error(
                    f"{where}.ports",
                    f"containerPort {port['containerPort']} belongs to osm-healthcheck: containers "
                    "of a pod share their ports; let the app listen on another one",
                )


def check_pod(pod: Pod, mesh: Mesh, validation: Validation) -> None:
    """Warn where ``mesh`` would treat the pod otherwise than its author may expect."""
    for container in pod.containers:
        if pod.is_mesh_container(container):
            continue
        if _user_of(container, pod) == mesh.proxy_user:
            validation.warn(
                f"{pod.where}: {container.name}",
                f"warning: runs as user {mesh.proxy_user}, as the mesh's proxy does: its "
                "connections are not redirected",
            )
    if is_injected_by_osm(pod):
        validation.warn(
            pod.where,
            f"warning: its annotation {OSM_INJECTION} asks OSM to rewrite the probes once more: "
            "use --mesh osm",
        )


def check_completion(pod: Pod, validation: Validation) -> None:
    """A pod that is to complete cannot have our sidecar as an ordinary container."""
    if pod.kind in ("Job", "CronJob"):
        validation.error(pod.where, "would never complete with --sidecar container: use native")
    elif pod.spec.get("restartPolicy") in ("Never", "OnFailure"):
        validation.warn(pod.where, "warning: never completes with --sidecar container: use native")


def warn_of_passthrough(
    pod: Pod, rewritten: Iterable[tuple[OriginalProbe, Manifest]], validation: Validation
) -> None:
    """Warn where the TLS of the kubelet, and of whoever else asks, goes through to the app."""
    named = [
        f"{one.container}.{one.kind.field} ({one.kind.port})"
        for one, value in rewritten
        if one.scheme == "HTTPS" and cast("Manifest", value["httpGet"]).get("scheme") == "HTTPS"
    ]
    if named:
        validation.warn(
            pod.where,
            f"warning: TLS is passed through to the app for {', '.join(named)}: whoever reaches "
            "these ports can send it any request, past the mesh; with --https request the sidecar "
            "sends the declared one only",
        )


def warn_of_update(pod: Pod, validation: Validation) -> None:
    """Warn where the object is in a cluster already, and cannot be changed there."""
    if pod.is_live and (answer := _UPDATES.get(pod.kind)):
        validation.warn(
            pod.where,
            f"warning: it is from a cluster, where kubectl apply will answer: {answer}; use "
            "kubectl replace --force, or inject what made it",
        )


def warn_of_apply(pod: Pod, probes: Iterable[OriginalProbe], validation: Validation) -> None:
    """Warn where ``kubectl apply`` would be refused: it leaves what it has not brought.

    It deletes what its last configuration had and the new one has not; where there was none, a
    ``tcpSocket`` stays beside the new ``httpGet`` (apimachinery, pkg/util/strategicpatch).
    """
    if not pod.is_live or pod.is_applied or pod.kind in _UPDATES:
        return
    if any(one.scheme == "" for one in probes):
        validation.warn(
            pod.where,
            "warning: it was not brought into the cluster by kubectl apply, which would leave its "
            "tcpSocket and grpc beside the new httpGet and be refused: use kubectl replace",
        )


def _user_of(container: Container, pod: Pod) -> object:
    for context in (container.value.get("securityContext"), pod.spec.get("securityContext")):
        if isinstance(context, dict) and context.get("runAsUser") is not None:
            return context["runAsUser"]
    return None
