"""The pod of the proof as a manifest: original, injected, and as it is in OSM's hands."""

import functools
import json
import subprocess
import sys
from typing import Any

import yaml

from osm_healthcheck.errors import Validation
from osm_healthcheck.injection.pods import pods_in
from osm_healthcheck.kubelet.pod_spec import PodSpec, read_pods

from .app import GRPC, HTTP, HTTPS, TCP

Manifest = dict[str, Any]

ORIGINAL_PORTS = (HTTP, HTTPS, TCP, GRPC)


def manifest(timeout: int) -> Manifest:
    """A pod with probes of every sort; ``timeout`` is the timeoutSeconds of each."""

    def probe(**handler: Any) -> Manifest:
        return {**handler, "timeoutSeconds": timeout}

    web = {
        "name": "web",
        "image": "web",
        "ports": [{"name": "https", "containerPort": HTTPS}],
        "livenessProbe": probe(httpGet={"path": "/live?deep=1", "port": HTTP}),
        "readinessProbe": probe(httpGet={"port": "https", "scheme": "HTTPS"}),
        "startupProbe": probe(httpGet={"path": "/started", "port": HTTP}),
    }
    api = {
        "name": "api",
        "image": "api",
        "livenessProbe": probe(httpGet={"path": "/api/live", "port": HTTP}),
        "readinessProbe": probe(grpc={"port": GRPC, "service": "shop.Orders"}),
        "startupProbe": probe(grpc={"port": GRPC}),
    }
    db = {"name": "db", "image": "db", "livenessProbe": probe(tcpSocket={"port": TCP})}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "shop"},
        "spec": {"containers": [web, api, db]},
    }


@functools.cache
def injected(timeout: int, mesh: str = "none") -> Manifest:
    """The same after ``osm-healthcheck inject``."""
    return _command(timeout, "inject", "--mesh", mesh)


@functools.cache
def by_request(timeout: int) -> Manifest:
    """The same where the sidecar makes the HTTPS requests itself."""
    return _command(timeout, "inject", "--mesh", "none", "--https", "request")


@functools.cache
def in_osm(timeout: int) -> Manifest:
    """The same with 15901-15903 left to Envoy."""
    return _command(timeout, "inject", "--mesh", "none", "--proxy", "mesh")


@functools.cache
def osm_bootstrap(timeout: int) -> Manifest:
    """What Envoy needs to serve 15901-15903."""
    return _command(timeout, "render", "envoy", "--bootstrap")


def spec(document: Manifest) -> PodSpec:
    """What the kubelet knows of a pod."""
    (pod,) = read_pods([document], "the manifest")
    return pod


def container(document: Manifest, name: str) -> Manifest:
    """A container of a pod by its name."""
    (pod,) = pods_in(document, Validation())
    found = pod.container(name)
    assert found is not None
    return dict(found.value)


def _command(timeout: int, *arguments: str) -> Manifest:
    done = subprocess.run(
        [sys.executable, "-m", "osm_healthcheck", *arguments],
        input=json.dumps(manifest(timeout)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    document: Manifest = yaml.safe_load(done.stdout)
    return document
