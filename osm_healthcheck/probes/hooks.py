"""Lifecycle hooks: requests that the kubelet makes once, when a container starts or is to end.

They are no probes (``pkg/kubelet/lifecycle/handlers.go``): any HTTP status is a success, and only
a request without an answer fails.
"""

from enum import StrEnum
from typing import NamedTuple

from osm_healthcheck.probes.probe import HTTPGetAction


class LifecycleHook(StrEnum):
    """Which of a container's two hooks; the value is the field of its ``lifecycle``."""

    POST_START = "postStart"
    PRE_STOP = "preStop"

    @property
    def field(self) -> str:
        """The field of a container that holds it: ``lifecycle.postStart``."""
        return f"lifecycle.{self.value}"

    @property
    def path(self) -> str:
        """What the path of a rewritten hook begins with; ``/<container>`` follows."""
        return _PATHS[self]


_PATHS = {
    LifecycleHook.POST_START: "/osm-post-start-hook",
    LifecycleHook.PRE_STOP: "/osm-pre-stop-hook",
}
_PREFIXES = tuple(f"{path}/" for path in _PATHS.values())


def is_hook_path(path: str) -> bool:
    """Whether a rewritten hook could have this path, declared or not."""
    return path.startswith(_PREFIXES)


class DeclaredHook(NamedTuple):
    """One ``httpGet`` hook of one container; the port of ``action`` is a number."""

    container: str
    hook: LifecycleHook
    action: HTTPGetAction

    @property
    def kind(self) -> LifecycleHook:
        """The same as ``hook``, by the name that a declared probe has for it."""
        return self.hook

    def __str__(self) -> str:
        return f"{self.container}/{self.hook.value}"

    @property
    def path(self) -> str:
        """Where the sidecar serves it, on 15904: ``/osm-post-start-hook/<container>``."""
        return f"{self.hook.path}/{self.container}"
