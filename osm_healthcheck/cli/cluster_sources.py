"""Workloads of a cluster as manifests: what ``kubectl get -o yaml`` would print of each."""

import argparse
from http import HTTPStatus
from typing import Any

from osm_healthcheck.cli.sources import Fetched, fetched
from osm_healthcheck.cluster.api import Cluster, ClusterError
from osm_healthcheck.cluster.resources import NAMESPACES
from osm_healthcheck.cluster.selection import Selection, read_workloads
from osm_healthcheck.manifests.block import Style


def fetch(
    options: argparse.Namespace, selection: Selection
) -> tuple[list[Fetched], dict[str, Any] | None]:
    """The objects that are named, and their Namespace, where it may be read.

    Raises:
        ClusterError: where they cannot be read, or one is not there.
    """
    cluster = Cluster(options.kubeconfig, options.context)
    sources = []
    for value in read_workloads(cluster, selection):
        value["metadata"].pop("managedFields", None)
        # Kubernetes reads YAML by go-yaml, which takes more words for numbers and booleans
        # than PyYAML puts in quotes
        text = f"{Style().mapping(value, 0)}\n"
        name = f"{value['kind'].lower()}/{value['metadata']['name']}"
        sources.append(fetched(name, text.encode()))
    try:
        return sources, cluster.get(NAMESPACES.path("", selection.namespace_in(cluster)))
    except ClusterError as error:
        if error.status != HTTPStatus.FORBIDDEN:
            raise
        return sources, None
