"""What somebody has told our container by hand, and what of it a new injection loses."""

from collections.abc import Collection, Sequence

from osm_healthcheck.errors import Validation
from osm_healthcheck.injection.containers import (
    POD_IP_VARIABLE,
    PROBES_VARIABLE,
    SIDECAR_ARGUMENTS,
    environment_of,
)
from osm_healthcheck.injection.pods import SIDECAR, Container, Manifest


def warn_of_lost_settings(
    where: str,
    sidecar: Container,
    added: Sequence[Manifest],
    validation: Validation,
    *,
    options: Collection[str] = (),
) -> None:
    """Warn of what our earlier ``sidecar`` was told and the new one is not.

    Somebody may have closed the ports by it. No value is named: it may be a secret, and warnings
    are kept in the pod.

    Args:
        where: the pod.
        sidecar: what goes.
        added: the containers that come in its place, if any do.
        validation: gets the warnings.
        options: variables that go without a word: those that an option of ``inject`` has set.
    """
    new = next((Container(one, "") for one in added if one["name"] == SIDECAR), None)
    before, after = environment_of(sidecar), environment_of(new) if new else {}
    lost = []
    for name, value in before.items():
        # what is declared follows from the pod's probes, and so does whether POD_IP is there
        if name == PROBES_VARIABLE or (name == POD_IP_VARIABLE and new is None):
            continue
        if name in options:
            continue
        if name not in after:
            lost.append(f"its variable {name} is dropped")
        elif value != after[name]:
            lost.append(f"its variable {name} is set anew, to another value")
    if sidecar.value.get("envFrom"):
        lost.append("its envFrom is dropped")
    args = sidecar.value.get("args")
    lost += [
        f"its option {one.partition('=')[0]} is dropped"
        for one in (args if isinstance(args, list) else [])
        if isinstance(one, str) and one.startswith("-") and one not in SIDECAR_ARGUMENTS
    ]
    why = "the container is written anew, by the options" if new else "the container goes"
    for text in lost:
        validation.warn(f"{where}: {SIDECAR}", f"warning: {text}: {why}")
