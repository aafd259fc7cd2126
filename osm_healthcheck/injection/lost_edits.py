"""Edits that were made by hand to what inject had written: undoing the injection loses them."""

from collections.abc import Mapping

from osm_healthcheck.errors import Validation
from osm_healthcheck.injection.hooks import hooks_of, read_hook
from osm_healthcheck.injection.manifest_probe import described_request, request_of
from osm_healthcheck.injection.original import OriginalProbe, read_original
from osm_healthcheck.injection.pods import Pod
from osm_healthcheck.injection.rewrite import HTTPS_MODES, rewritten
from osm_healthcheck.probes.constants import ORIGINAL_TCP_PORT

Asked = Mapping[tuple[str, str], object]


def asked_by(pod: Pod) -> Asked:
    """The probes and hooks of ``pod`` as they stand now, by container and kind."""
    return {
        (container.name, str(field)): value
        for container in pod.containers
        for field, value in (*container.probes(), *hooks_of(container))
    }


def warn_of_lost_edits(pod: Pod, before: Asked, done: str, validation: Validation) -> None:
    """Warn of probes and hooks that asked something else than inject had written.

    Args:
        pod: as it is now that its injection is undone.
        before: `asked_by` it until then.
        done: what becomes of the originals, in a phrase.
        validation: gets the warnings.
    """

    def warn(container: str, field: str, was: object) -> None:
        validation.warn(
            f"{pod.where}: {container}.{field}",
            f"{done}; the edit made to it since is lost: it asked {described_request(was)}",
        )

    for container in pod.containers:
        for hook, value in hooks_of(container):
            was = before[container.name, str(hook)]
            if was is value:
                continue
            original = read_hook(pod, container, hook, Validation())
            if original and request_of(was) != request_of(original.rewritten):
                warn(container.name, hook.field, was)
        for kind, probe in container.probes():
            was = before[container.name, str(kind)]
            if was is probe:
                continue
            one = read_original(pod, container, kind, Validation())
            if one is not None and not _is_form_of(was, one):
                warn(container.name, kind.field, was)


def _is_form_of(probe: object, one: OriginalProbe) -> bool:
    """Whether inject writes ``probe`` for ``one``, with whatever number a named port had then."""
    asked = request_of(probe, _named_port_header(one))
    # the path depends on how many probes of a kind and scheme the pod had
    return any(
        asked == request_of(form, _named_port_header(one))
        for https in HTTPS_MODES
        for form in rewritten([one], https) + rewritten([one, one], https)
    )


def _named_port_header(one: OriginalProbe) -> str:
    """The header that follows from the container's ports; empty where none does."""
    action = one.value.get("tcpSocket")
    is_named = isinstance(action, dict) and isinstance(action.get("port"), str)
    return ORIGINAL_TCP_PORT if is_named else ""
