"""What a pod declares to what answers its probes: by a variable, or by an annotation."""

from collections.abc import Iterable

from osm_healthcheck.errors import InvalidInputError
from osm_healthcheck.injection.containers import PROBES_VARIABLE, environment_of
from osm_healthcheck.injection.hooks import OriginalHook
from osm_healthcheck.injection.original import OriginalProbe
from osm_healthcheck.injection.pods import SIDECAR, Pod
from osm_healthcheck.injection.rewrite import is_check
from osm_healthcheck.probes.constants import DECLARED_PROBES, HEALTHCHECK_PORT
from osm_healthcheck.probes.declaration import read_all_declared, read_declaration
from osm_healthcheck.probes.ports import OwnPorts
from osm_healthcheck.probes.targets import targets_of
from osm_healthcheck.verification.findings import Finding, good, wrong

_OWN = OwnPorts()
_AGAIN = "inject the manifest again"
NODE = "the node's osm-healthcheck"


def served_ports(pod: Pod) -> tuple[str, set[int]]:
    """What serves in the pod, our container or node mode, and on which ports.

    That is 15904, and those that the declared probes need; none where the declaration is broken,
    or nothing of ours is there.
    """
    sidecar = pod.container(SIDECAR)
    name = SIDECAR if sidecar is not None else NODE
    if sidecar is not None:
        text = environment_of(sidecar).get(PROBES_VARIABLE)
    elif (text := pod.annotations.get(DECLARED_PROBES)) is None:
        return name, set()
    if text is None:
        return name, {HEALTHCHECK_PORT}
    try:
        targets = targets_of(read_declaration(str(text), PROBES_VARIABLE, _OWN))
    except InvalidInputError:
        return name, set()  # it ends at once
    return name, {HEALTHCHECK_PORT, *(kind.port for kind in targets.routes)}


def declaration_findings(
    subject: str, text: str, originals: Iterable[OriginalProbe], hooks: Iterable[OriginalHook]
) -> list[Finding]:
    """Whether ``text``, which ``subject`` was told, declares the original probes and hooks."""
    # compared as they are read: the API server fills in what a manifest left out
    expected = {one.declared for one in originals}
    checks = {one for one in expected if is_check(one.probe)}
    try:
        declared, declared_hooks = map(set, read_all_declared(text, PROBES_VARIABLE, _OWN))
    except InvalidInputError as error:
        return [wrong(subject, str(error.errors[0]), _AGAIN)]
    if declared in (expected, checks):
        findings = [good(subject, "its declared probes are the originals")]
    else:
        findings = [wrong(subject, "its declared probes are not the originals", _AGAIN)]
    if declared_hooks != {one.declared for one in hooks}:
        findings.append(wrong(subject, "its declared hooks are not the originals", _AGAIN))
    return findings
