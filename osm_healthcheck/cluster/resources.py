"""Objects as they are named on a command line: ``deploy/web``, or ``pod web-0 web-1``."""

from collections.abc import Sequence
from dataclasses import dataclass

_APPS, _BATCH = "/apis/apps/v1", "/apis/batch/v1"


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object: its path in the API is ``api``/namespaces/NAMESPACE/``plural``."""

    kind: str
    plural: str
    short: str
    api: str = "/api/v1"

    def path(self, namespace: str, name: str = "") -> str:
        """The path of an object, or of all of them in a namespace, or in all (empty)."""
        parts = [self.api, *(["namespaces", namespace] if namespace else []), self.plural]
        return "/".join([*parts, *([name] if name else [])])

    @property
    def version(self) -> str:
        """The ``apiVersion`` of its objects."""
        return self.api.removeprefix("/apis/").removeprefix("/api/")

    @property
    def suffixes(self) -> tuple[str, ...]:
        """What kubectl takes behind a kind and a dot: ``apps``, ``v1.apps``; ``v1.`` of the core.

        k8s.io/apimachinery/pkg/runtime/schema: ParseResourceArg
        """
        group, _, version = self.version.rpartition("/")
        return (group, f"{version}.{group}")


PODS = Resource("Pod", "pods", "po")
EVENTS = Resource("Event", "events", "ev")
NAMESPACES = Resource("Namespace", "namespaces", "ns")
JOBS = Resource("Job", "jobs", "job", _BATCH)
# Those that have pods, by which these can be named.
WORKLOADS = (
    PODS,
    Resource("Deployment", "deployments", "deploy", _APPS),
    Resource("StatefulSet", "statefulsets", "sts", _APPS),
    Resource("DaemonSet", "daemonsets", "ds", _APPS),
    Resource("ReplicaSet", "replicasets", "rs", _APPS),
    Resource("ReplicationController", "replicationcontrollers", "rc"),
    JOBS,
    Resource("CronJob", "cronjobs", "cj", _BATCH),
    Resource("Service", "services", "svc"),
)
_BY_NAME = {
    name: resource
    for resource in WORKLOADS
    for name in (resource.short, resource.plural, resource.kind.lower())
}


def resource_named(name: str) -> Resource | None:
    """The kind called ``name``, as kubectl takes it: ``deploy``, ``deployments.apps``.

    ``deploy.yaml`` is none: ``yaml`` is not the group of Deployments.
    """
    kind, dot, suffix = name.lower().partition(".")
    found = _BY_NAME.get(kind)
    return found if found and (not dot or suffix in found.suffixes) else None


def is_named_object(argument: str) -> bool:
    """Whether ``argument`` has the form ``KIND/NAME``, and the kind is known."""
    kind, slash, name = argument.partition("/")
    return bool(slash and name) and "/" not in name and resource_named(kind) is not None


def named_objects(arguments: Sequence[str]) -> list[tuple[Resource, str]]:
    """The objects that are named; an empty name stands for all of a kind.

    Raises:
        ValueError: where a name or kind is none; it says so.
    """
    if arguments and "/" not in arguments[0]:  # KIND [NAME ...]
        kind, *names = arguments
        resource = _known(kind)
        if wrong := next((name for name in names if "/" in name), ""):
            raise ValueError(f"{wrong}: name either KIND NAME..., or KIND/NAME each")
        return [(resource, name) for name in names] or [(resource, "")]
    found = []
    for argument in arguments:
        kind, _, name = argument.partition("/")
        if not name or "/" in name:
            raise ValueError(f"{argument}: must be KIND/NAME, as deploy/web")
        found.append((_known(kind), name))
    return found


def _known(kind: str) -> Resource:
    if (found := resource_named(kind)) is None:
        known = ", ".join(one.short for one in WORKLOADS)
        raise ValueError(f"{kind}: is no file, and no kind that has pods: {known}")
    return found
