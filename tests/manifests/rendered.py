"""Whether what Helm renders is right, as far as that shows without a cluster; for .ci/chart.

    helm template … | python -m tests.manifests.rendered

Every object is validated by Kubernetes' own schema, the lowest version that is supported, and the
injector's options are read as the injector reads them.
"""

import sys
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import yaml

from osm_healthcheck.cli.injector import read_arguments

_RELEASE = "1.30"
_CUSTOM = ("monitoring.coreos.com/",)  # kinds whose schema is no part of Kubernetes


def main() -> None:
    """Read YAML from stdin; what is wrong with it is an exception, or ends the process with 2."""
    for document in yaml.safe_load_all(sys.stdin):
        if document is None or document["apiVersion"].startswith(_CUSTOM):
            continue
        kubernetes_validate.validate(document, _RELEASE, strict=True)
        if document["kind"] == "Deployment":
            read_arguments(options_of(document))


def options_of(deployment: dict[str, Any]) -> list[str]:
    """What the injector's container is told, but for its certificate, which is in a pod alone."""
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    in_a_pod = ("--certificate", "--webhook-configuration")
    told = [one for one in container["args"] if not one.startswith(in_a_pod)]
    return [*told, "--certificate", "."]


if __name__ == "__main__":
    main()
