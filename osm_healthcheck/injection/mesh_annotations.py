"""A mesh's annotations on a pod, by which our ports get past its redirect."""

from collections.abc import Sequence
from typing import cast

from osm_healthcheck.errors import Validation
from osm_healthcheck.injection.mesh import Mesh, extended, with_user
from osm_healthcheck.injection.pods import Pod
from osm_healthcheck.probes.quote import quoted


def mesh_annotations(
    pod: Pod, mesh: Mesh, ports: Sequence[int], user: int | None, validation: Validation
) -> dict[str, tuple[str | None, str]]:
    """What ``mesh`` has to be told of our ``ports`` and of our ``user`` (``None``: of none).

    By the annotation's name: what stands there (``None``: nothing), and what is to stand there.
    """
    found: dict[str, tuple[str | None, str]] = {}
    names = [mesh.ports] if mesh.ports else []
    if mesh.users and user is not None:
        names.append(mesh.users)
    for name in [*names, *mesh.switches]:
        was = pod.annotations.get(name)
        where = f"{pod.where}: metadata.annotations: {name}"
        if not isinstance(was, str | None):
            validation.error(where, "Invalid value: must be a string, in quotes")
        elif name == mesh.ports:
            try:
                found[name] = was, extended(mesh.default_ports if was is None else was, ports)
            except ValueError as error:
                validation.error(where, str(error))
            if was is None:
                _warn_of_replaced_ports(mesh, validation)
        elif name == mesh.users:
            found[name] = was, with_user(was or "", cast("int", user))
        elif was is None or mesh.is_off(name, was):
            found[name] = was, was or mesh.switches[name]
        else:
            _report_switch(mesh, name, was, where, validation)
    return found


def _warn_of_replaced_ports(mesh: Mesh, validation: Validation) -> None:
    """The annotation replaces a mesh-wide list, which is not in the manifest."""
    if mesh.ports_setting:
        kept = f"; its default {mesh.default_ports} is kept" if mesh.default_ports else ""
        validation.warn(
            mesh.ports,
            f"on a pod it replaces {mesh.title}'s {mesh.ports_setting}{kept}: where you have set "
            "ports there, add them to it",
            is_general=True,
        )


def _report_switch(mesh: Mesh, name: str, value: str, where: str, validation: Validation) -> None:
    off = quoted(mesh.switches[name])
    if mesh.rewrites_native_sidecars:
        validation.error(
            where,
            f"Invalid value: {quoted(value)}: {mesh.title} would rewrite the injected probes once "
            f"more, and osm-healthcheck's own to a port of a proxy that starts after it: the pod "
            f"would never start; set it to {off}, or leave it out",
        )
    else:
        validation.warn(
            where,
            f"warning: stays {quoted(value)} as you set it; with {off} {mesh.name} would not "
            "rewrite the probes once more",
        )
