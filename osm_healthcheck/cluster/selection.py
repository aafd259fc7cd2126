"""Which pods are wanted, and what is read of a cluster for them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from osm_healthcheck.cluster.api import Cluster, ClusterError
from osm_healthcheck.cluster.resources import EVENTS, JOBS, NAMESPACES, PODS, Resource
from osm_healthcheck.probes.quote import quoted

_OPERATORS = {"In": "in", "NotIn": "notin"}


@dataclass(frozen=True, slots=True)
class Selection:
    """The pods of ``objects``, or those with the labels ``selector``, or all of a namespace.

    ``namespace`` is empty for that of the context.
    """

    objects: Sequence[tuple[Resource, str]] = ()
    namespace: str = ""
    all_namespaces: bool = False
    selector: str = ""

    def namespace_in(self, cluster: Cluster) -> str:
        """The namespace to ask for; empty for all."""
        return "" if self.all_namespaces else self.namespace or cluster.namespace


def read_pods(cluster: Cluster, selection: Selection) -> Iterator[dict[str, Any]]:
    """The pods, each once; a workload without pods stands for itself.

    Raises:
        ClusterError: where they cannot be read, or one that is named is not there.
    """
    namespace = selection.namespace_in(cluster)
    query = {"labelSelector": selection.selector} if selection.selector else {}
    seen = set[object]()
    for resource, name in selection.objects or [(PODS, "")]:
        owners = (
            [_named(cluster, resource, namespace, name)]
            if name
            else cluster.objects(resource, namespace, **query)
        )
        for owner in owners:
            found = [owner] if resource is PODS else list(_pods_of(cluster, owner)) or [owner]
            for pod in found:
                if (uid := pod["metadata"].get("uid")) not in seen:
                    seen.add(uid)
                    yield pod


def read_running_pod(cluster: Cluster, selection: Selection) -> dict[str, Any]:
    """One pod that runs, a ready one where there is one.

    Raises:
        ClusterError: where none runs, or they cannot be read.
    """
    pods = [pod for pod in read_pods(cluster, selection) if pod["kind"] == PODS.kind]
    running = [pod for pod in pods if (pod.get("status") or {}).get("phase") == "Running"]
    if not running:
        raise ClusterError(f"no pod of {len(pods)} runs: see osm-healthcheck verify")
    return next((pod for pod in running if _is_ready(pod)), running[0])


def read_workloads(cluster: Cluster, selection: Selection) -> Iterator[dict[str, Any]]:
    """The objects that are named, as they stand in the cluster.

    Raises:
        ClusterError: where they cannot be read, or one is not there.
    """
    namespace = selection.namespace_in(cluster)
    for resource, name in selection.objects:
        if name:
            yield _named(cluster, resource, namespace, name)
        else:
            yield from cluster.objects(resource, namespace)


def read_surroundings(cluster: Cluster, selection: Selection) -> Iterator[dict[str, Any]]:
    """The Namespaces of the pods and the events about pods, as far as they may be read.

    Raises:
        ClusterError: where the cluster cannot be asked any more.
    """
    namespace = selection.namespace_in(cluster)
    try:
        if namespace:
            yield _named(cluster, NAMESPACES, "", namespace)
        else:
            yield from cluster.objects(NAMESPACES, "")
    except ClusterError as error:
        if error.status != HTTPStatus.FORBIDDEN:
            raise
    yield from cluster.objects(EVENTS, namespace, fieldSelector="involvedObject.kind=Pod")


def _named(cluster: Cluster, resource: Resource, namespace: str, name: str) -> dict[str, Any]:
    try:
        return cluster.get(resource.path(namespace, name))
    except ClusterError as error:
        if namespace and error.status == HTTPStatus.NOT_FOUND:
            where = f"{error} in namespace {quoted(namespace)}"
            raise ClusterError(where, error.status) from None
        raise


def _is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = pod["status"].get("conditions") or []
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


def _pods_of(cluster: Cluster, owner: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The pods of a workload, found by its selector, as kubectl finds them."""
    metadata = owner["metadata"]
    if owner["kind"] == "CronJob":
        for job in cluster.objects(JOBS, metadata["namespace"]):
            owners = job["metadata"].get("ownerReferences") or []
            if any(one.get("uid") == metadata["uid"] for one in owners):
                yield from _pods_of(cluster, job)
        return
    selector = (owner.get("spec") or {}).get("selector") or {}
    if text := label_selector(selector):
        yield from cluster.objects(PODS, metadata["namespace"], labelSelector=text)


def label_selector(selector: Mapping[str, Any]) -> str:
    """A LabelSelector, or the mapping that Services have, as the query parameter has it."""
    if not ("matchLabels" in selector or "matchExpressions" in selector):
        return ",".join(f"{key}={value}" for key, value in selector.items())
    parts = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    for one in selector.get("matchExpressions") or []:
        key, values = one["key"], ",".join(one.get("values") or [])
        if operator := _OPERATORS.get(one["operator"]):
            parts.append(f"{key} {operator} ({values})")
        else:
            parts.append(key if one["operator"] == "Exists" else f"!{key}")
    return ",".join(parts)
