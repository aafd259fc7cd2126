"""Pods and containers that are left alone: for what they are, or by an annotation."""

import re

from osm_healthcheck.errors import Validation
from osm_healthcheck.injection.pods import Manifest, Pod
from osm_healthcheck.injection.record import INJECT, SKIP_CONTAINERS
from osm_healthcheck.probes.quote import quoted

OSM_INJECTION = "openservicemesh.io/sidecar-injection"
# as OSM's injector reads it: pkg/injector/webhook.go, isAnnotatedForInjection
_OSM_VALUES = {
    "enabled": True,
    "yes": True,
    "true": True,
    "disabled": False,
    "no": False,
    "false": False,
}
_SANDBOXED = re.compile(r"kata|gvisor|runsc", re.IGNORECASE)
_OUR_VALUES = {"enabled": True, "disabled": False}


def reason_to_skip(pod: Pod, validation: Validation) -> str:
    """Why the whole pod is left alone; empty where it is not."""
    if pod.spec.get("hostNetwork") is True:
        return "hostNetwork: its probes ask the node's own ports, which no mesh redirects"
    if _is_windows(pod.spec):
        return "a Windows pod"
    for name, values in ((OSM_INJECTION, _OSM_VALUES), (INJECT, _OUR_VALUES)):
        value = pod.annotations.get(name)
        if value is None:
            continue
        key = value.lower() if isinstance(value, str) else ""
        if key not in values:
            validation.error(
                f"{pod.where}: metadata.annotations: {name}",
                f"Invalid value: {quoted(value)}: must be one of these strings: "
                f"{', '.join(values)}",
            )
        elif not values[key]:
            return f"its annotation {name} is {quoted(value)}"
    return ""


def sandboxed_runtime(pod: Pod) -> str:
    """The pod's ``runtimeClassName``, where that runs it in a virtual machine or on gVisor.

    The node's own kernel then does not have the pod's sockets. The names are those that Kata's and
    gVisor's documentation gives.
    """
    name = pod.spec.get("runtimeClassName")
    return name if isinstance(name, str) and _SANDBOXED.search(name) else ""


def is_injected_by_osm(pod: Pod) -> bool:
    """Whether the pod asks OSM's injector to inject it."""
    value = pod.annotations.get(OSM_INJECTION)
    return isinstance(value, str) and _OSM_VALUES.get(value.lower(), False)


def containers_to_skip(pod: Pod, validation: Validation) -> frozenset[str]:
    """The containers that the annotation ``skip-containers`` names."""
    value = pod.annotations.get(SKIP_CONTAINERS)
    if value is None:
        return frozenset()
    where = f"{pod.where}: metadata.annotations: {SKIP_CONTAINERS}"
    if not isinstance(value, str):
        validation.error(where, "Invalid value: must be a string of names with commas")
        return frozenset()
    names = [name.strip() for name in value.split(",") if name.strip()]
    for name in names:
        if pod.container(name) is None:
            validation.warn(where, f"warning: there is no container {quoted(name)}")
    return frozenset(names)


def _is_windows(spec: Manifest) -> bool:
    system, selector = spec.get("os"), spec.get("nodeSelector")
    return (isinstance(system, dict) and str(system.get("name")).lower() == "windows") or (
        isinstance(selector, dict)
        and any(
            str(selector.get(f"{prefix}kubernetes.io/os")).lower() == "windows"
            for prefix in ("", "beta.")
        )
    )
