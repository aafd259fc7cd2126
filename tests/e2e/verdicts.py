"""What the kubelet concludes about a pod, as the API shows it."""

import contextlib
from collections import Counter
from typing import Any

from .control_plane import ControlPlane
from .process import NotYetError, until

READY = "Ready"
NOT_READY = "not Ready"
RESTARTED = "restarted"
HOOK_FAILED = "hook failed"
COMPLETE = "complete"
FAILED = "failed"
_SETTLED = 6
"""As often as this a readiness probe fails with the same words, and it is no slow start."""


class Pod:
    """A pod in a cluster; of a Job, its first pod.

    Attributes:
        namespace: that it is in.
        name: of the pod or the Job, and the value of its label ``app``.
    """

    def __init__(self, cluster: ControlPlane, namespace: str, name: str) -> None:
        self._kubectl = cluster.kubectl
        self._api = cluster.api
        self.namespace = namespace
        self.name = name

    def __call__(self, *arguments: str, stdin: str = "") -> str:
        """Run kubectl in the pod's namespace."""
        return self._kubectl("--namespace", self.namespace, *arguments, stdin=stdin)

    def argv(self, *arguments: str) -> list[str]:
        """A command of kubectl in the pod's namespace."""
        return self._kubectl.argv("--namespace", self.namespace, *arguments)

    def get(self) -> Any:
        """The pod as it is now."""
        path = f"/api/v1/namespaces/{self.namespace}/pods"
        found = self._api(path, labelSelector=f"app={self.name}")
        return found["items"][0] if found["items"] else {"status": {}, "metadata": {}}

    def describe(self) -> str:
        """What `kubectl describe pod` says."""
        return self("describe", "pod", "--selector", f"app={self.name}")

    def restarts(self) -> dict[str, int]:
        """How often each of its containers was restarted."""
        status = self.get()["status"]
        containers = status.get("initContainerStatuses", []) + status.get("containerStatuses", [])
        return {one["name"]: one["restartCount"] for one in containers}

    def container_id(self, container: str) -> str:
        """A container's ID."""
        status = self.get()["status"]
        statuses = status.get("initContainerStatuses", []) + status.get("containerStatuses", [])
        [found] = [one["containerID"] for one in statuses if one["name"] == container]
        return str(found)

    def messages(self, reason: str) -> Counter[tuple[str, str]]:
        """How often the kubelet said what: (container, message), by an event's reason."""
        name = self.get()["metadata"].get("name")
        events = self._api(
            f"/api/v1/namespaces/{self.namespace}/events",
            fieldSelector=f"involvedObject.name={name},reason={reason}",
        )
        said: Counter[tuple[str, str]] = Counter()
        for event in events["items"]:
            container = event["involvedObject"].get("fieldPath", "").partition("{")[2].rstrip("}")
            said[container, event["message"]] += event["count"]
        return said

    def failures(self, container: str, kind: str) -> int:
        """How often a probe of a container failed; kind is Liveness, Readiness or Startup."""
        return sum(
            count
            for (of, message), count in self.messages("Unhealthy").items()
            if of == container and message.startswith(f"{kind} probe")
        )

    def failures_at_least(self, number: int, container: str, kind: str) -> int:
        """How often a probe of a container failed, once that is no less than a number.

        Events come a while after what they tell of. Where they do not come, as many as there are.
        """
        with contextlib.suppress(NotYetError):
            until(lambda: self.failures(container, kind) >= number, "events", 20)
        return self.failures(container, kind)

    def verdict(self) -> str | None:
        """What the kubelet has concluded; None while it has not."""
        pod = self.get()
        conditions = {one["type"]: one["status"] for one in pod["status"].get("conditions", [])}
        if pod["status"].get("phase") in ("Succeeded", "Failed"):
            return COMPLETE if pod["status"]["phase"] == "Succeeded" else FAILED
        if self.messages("FailedPostStartHook"):
            return HOOK_FAILED
        if any(self.restarts().values()):
            return RESTARTED
        if conditions.get("Ready") == "True":
            return READY
        kinds = {
            field
            for containers in ("containers", "initContainers")
            for one in pod.get("spec", {}).get(containers, [])
            if one["name"] != "osm-healthcheck"
            for field in ("livenessProbe", "startupProbe")
            if field in one
        }
        # With one of these there is more to come: a restart.
        if not kinds and max(self.messages("Unhealthy").values(), default=0) >= _SETTLED:
            return NOT_READY
        return None

    def wait_for_verdict(self, *, other_than: str | None = None, seconds: float = 150) -> str:
        """Wait until the kubelet has concluded something, or something else."""
        found: list[str] = []

        def concluded() -> bool:
            verdict = self.verdict()
            if verdict in (None, other_than):
                return False
            found.append(str(verdict))
            return True

        until(concluded, f"{self.name}: a verdict other than {other_than}", seconds)
        return found[0]
