"""A mesh's annotations on a pod, by which our ports get past its redirect."""

from collections.abc import Sequence
from typing import cast

from osm_healthcheck.errors import Validation
from osm_healthcheck.injection.mesh import Mesh, extended, with_user
from osm_healthcheck.injection.pods import Pod


def mesh_annotations(
    pod: Pod, mesh: Mesh, ports: Sequence[int], user: int | None, validation: Validation
) -> dict[str, tuple[str | None, str]]:
    """What ``mesh`` has to be told of our ``ports`` and of our ``user`` (``None``: of none).

    By the annotation's name: what stands there (``None``: nothing), and what is to stand there.
    """
    found: dict[str, tuple[str | None, str]] = {}
    lists = [mesh.ports] if mesh.ports else []
    if mesh.users and user is not None:
        lists.append(mesh.users)
    for name in [*lists, *mesh.switches]:
        was = pod.annotations.get(name)
        where = f"{pod.where}: metadata.annotations: {name}"
        if not isinstance(was, str | None):
            validation.error(where, "Invalid value: must be a string, in quotes")
        elif name == mesh.ports:
            try:
                found[name] = was, extended(was or "", ports)
            except ValueError as error:
                validation.error(where, str(error))
        elif name == mesh.users:
            found[name] = was, with_user(was or "", cast("int", user))
        elif was in (None, mesh.switches[name]):
            found[name] = was, mesh.switches[name]
        else:
            validation.warn(
                where,
                f'warning: stays "{was}" as you set it; with "{mesh.switches[name]}" '
                f"{mesh.name} would not rewrite the probes once more",
            )
    return found
