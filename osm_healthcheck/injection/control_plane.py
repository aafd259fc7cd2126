"""Pods of a mesh's control plane, and of ours: no proxy belongs into them.

They answer the API server and every proxy themselves, and a proxy in front of them would have to be
told by them how to let that pass.
"""

from osm_healthcheck.injection.pods import Pod

# charts/osm/templates of Open Service Mesh and osm-edge, charts/fsm/templates of FSM: the names of
# the containers, which are those of the Deployments
_CONTAINERS = {
    f"{prefix}-{part}": title
    for prefix, title in (("osm", "Open Service Mesh"), ("fsm", "FSM"))
    for part in ("controller", "injector", "bootstrap")
}
# charts/osm-healthcheck/templates/_helpers.tpl
_OUR_LABELS = {
    "app.kubernetes.io/name": "osm-healthcheck",
    "app.kubernetes.io/component": "injector",
}


def control_plane_of(pod: Pod) -> str:
    """Whose control plane ``pod`` is a part of; empty where it is none that is known."""
    for container in pod.containers:
        if title := _CONTAINERS.get(container.name):
            return title
    metadata = pod.value.get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, dict) else None
    if isinstance(labels, dict) and _OUR_LABELS.items() <= labels.items():
        return "osm-healthcheck"
    return ""
