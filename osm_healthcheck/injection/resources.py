"""CPU and memory: what our containers ask for, and what that means for the pod.

A pod that is Guaranteed stays so (``pkg/apis/core/v1/helper/qos``). Where the pod has resources of
its own (``spec.resources``, Kubernetes 1.34 and newer), they must cover those of its containers
(``validatePodResourceConsistency``): they are raised by what is added.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import cast

from osm_healthcheck.errors import Validation
from osm_healthcheck.injection.pods import Container, Manifest, Pod
from osm_healthcheck.injection.quantity import quantity, written
from osm_healthcheck.injection.record import RaisedQuantity, Record
from osm_healthcheck.probes.quote import quoted

_NAMES = ("cpu", "memory")
# A lower limit would make the start last for seconds; a Guaranteed pod must name one.
_GUARANTEED_CPU = "100m"
LEAST_MEMORY = "40Mi"  # the start takes 33 MiB, where no other process maps the same files


@dataclass(frozen=True, slots=True)
class Resources:
    """What our containers request, as quantities; of memory they may use no more."""

    cpu: str = "10m"
    memory: str = "64Mi"

    def of(self, name: str) -> Decimal:
        """The quantity of ``cpu`` or ``memory``."""
        return cast("Decimal", quantity(self.cpu if name == "cpu" else self.memory))


DEFAULT_RESOURCES = Resources()


def sidecar_resources(pod: Pod, asked: Resources) -> Manifest:
    """The ``resources`` of the sidecar; empty where it has to name none."""
    if not _has_own_resources(pod):
        return init_resources(pod, asked)
    # Where no container requests any, a pod's request is its limit (``defaultPodRequests``):
    # a request of the sidecar would become the whole pod's.
    listed = {"cpu": asked.cpu, "memory": asked.memory}
    requests = {name: text for name, text in listed.items() if not _is_limit_the_request(pod, name)}
    limits = {"memory": asked.memory} if "memory" in requests else {}
    return {
        **({"requests": requests} if requests else {}),
        **({"limits": limits} if limits else {}),
    }


def init_resources(pod: Pod, asked: Resources) -> Manifest:
    """The ``resources`` of the init container, which has ended before the sidecar starts."""
    if _has_own_resources(pod):
        return {}
    if is_guaranteed(pod):
        enough = asked.of("cpu") >= cast("Decimal", quantity(_GUARANTEED_CPU))
        equal = {"cpu": asked.cpu if enough else _GUARANTEED_CPU, "memory": asked.memory}
        return {"requests": equal, "limits": dict(equal)}
    requests = {"cpu": asked.cpu, "memory": asked.memory}
    return {"requests": requests, "limits": {"memory": asked.memory}}


def is_guaranteed(pod: Pod) -> bool:
    """Whether the pod has the QoS class Guaranteed: limits of CPU and memory that are its requests.

    It goes by the pod's own resources where it has some, else by those of every container, init
    containers included.
    """
    if _has_own_resources(pod):
        return _has_equal_limits(pod.spec)
    return bool(pod.containers) and all(_has_equal_limits(one.value) for one in pod.containers)


def raise_pod_resources(pod: Pod, asked: Resources, record: Record, validation: Validation) -> None:
    """Raise ``spec.resources`` by what the sidecar asks for; noted in ``record``."""
    raised = dict[str, RaisedQuantity]()
    for path, listed, name in _own_quantities(pod):
        before = quantity(listed[name])
        if before is None:
            validation.error(
                f"{pod.where}: spec.resources.{path}",
                f"Invalid value: {quoted(listed[name])}: must be a quantity, such as 500m or 64Mi",
            )
            continue
        raised[path] = RaisedQuantity(listed[name], written(before + asked.of(name)))
    if validation.errors:
        return
    for path, listed, name in _own_quantities(pod):
        listed[name] = raised[path].written
    if raised:
        record.resources = raised
        validation.warn(
            pod.where,
            f"spec.resources raised by {asked.cpu} CPU and {asked.memory} memory, for the sidecar",
        )


def lower_pod_resources(pod: Pod, record: Record) -> None:
    """Take what ``raise_pod_resources`` added out of ``spec.resources`` again."""
    for path, listed, name in _own_quantities(pod):
        if (raised := record.resources.get(path)) is None:
            continue
        current, added = quantity(listed[name]), _added(raised)
        if current == quantity(raised.written):
            listed[name] = raised.was
        elif current is not None and current > added:
            listed[name] = written(current - added)


def _own_quantities(pod: Pod) -> Iterator[tuple[str, Manifest, str]]:
    """The pod's own quantities of CPU and memory: path, the mapping that has it, its name."""
    resources = pod.spec.get("resources")
    if not isinstance(resources, dict):
        return
    for field in ("requests", "limits"):
        listed = resources.get(field)
        for name in _NAMES:
            if isinstance(listed, dict) and listed.get(name) is not None:
                yield f"{field}.{name}", listed, name


def _added(raised: RaisedQuantity) -> Decimal:
    before, after = quantity(raised.was), quantity(raised.written)
    return Decimal() if before is None or after is None else after - before


def _has_own_resources(pod: Pod) -> bool:
    return next(_own_quantities(pod), None) is not None


def _is_limit_the_request(pod: Pod, name: str) -> bool:
    resources = cast("Manifest", pod.spec["resources"])
    if name in _listed(resources, "requests") or name not in _listed(resources, "limits"):
        return False
    return not any(_requests(one, name) for one in pod.containers)


def _requests(container: Container, name: str) -> bool:
    resources = container.value.get("resources")
    if not isinstance(resources, dict):
        return False
    # a request that is left out is the limit
    return name in _listed(resources, "requests") or name in _listed(resources, "limits")


def _has_equal_limits(holder: Manifest) -> bool:
    resources = holder.get("resources")
    if not isinstance(resources, dict):
        return False
    limits, requests = _listed(resources, "limits"), _listed(resources, "requests")
    for name in _NAMES:
        limit = quantity(limits.get(name))
        if limit is None or limit <= 0 or quantity(requests.get(name, limits[name])) != limit:
            return False
    return True


def _listed(resources: Manifest, field: str) -> Manifest:
    found = resources.get(field)
    return {k: v for k, v in found.items() if v is not None} if isinstance(found, dict) else {}
