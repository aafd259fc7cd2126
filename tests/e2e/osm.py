"""Open Service Mesh 1.2.4 in a cluster: its injector and its controller, with our image.

What `osm install` makes, less what only monitoring, tracing and multi-clusters need. There is no
DNS: Envoy finds the controller, which is on the node's network, by `hostAliases`.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml

from .build import custom_resource_definitions
from .control_plane import ControlPlane
from .node import ADDRESS
from .pods import MESH, Manifest, container, pod
from .process import until

IMAGE = "e2e.local/osm:1"
NAMESPACE = "osm-system"
_CONTROLLER = f"osm-controller.{NAMESPACE}.svc.cluster.local"
_COMMON = [
    *("--mesh-name", "e2e", "--osm-namespace", NAMESPACE, "--osm-config-name", "osm-mesh-config"),
    *("--ca-bundle-secret-name", "osm-ca-bundle", "--osm-version", "v1.2.4", "--verbosity", "info"),
]


def install(cluster: ControlPlane, sidecar: str, init: str) -> None:
    """Start Open Service Mesh, and wait until it injects.

    Args:
        cluster: where.
        sidecar: the image of the container osm-healthcheck.
        init: the image of OSM's init container.
    """
    kubectl = cluster.kubectl
    cluster.namespace(NAMESPACE)
    kubectl("apply", "--server-side", "-f", str(custom_resource_definitions()))
    kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    account = {"kind": "ServiceAccount", "name": "osm", "namespace": NAMESPACE}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    kubectl.apply(
        _object("v1", "ServiceAccount", "osm"),
        _object("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "osm")
        | {"subjects": [account], "roleRef": role},
        _mesh_config(init),
        _pod(
            "osm-injector",
            *("--webhook-config-name", "osm-webhook-e2e", "--osm-container-pull-policy"),
            "IfNotPresent",
            environment={"OSM_DEFAULT_HEALTHCHECK_CONTAINER_IMAGE": sidecar},
        ),
        _pod(
            "osm-controller",
            *("--osm-service-account", "osm", "--validator-webhook-config", "osm-validator-e2e"),
        ),
        _object("v1", "Service", "osm-injector")
        | {
            "spec": {
                "selector": {"app": "osm-injector"},
                "ports": [{"name": "mutate-webhook", "port": 9090, "targetPort": 9090}],
            }
        },
        namespace=NAMESPACE,
    )
    kubectl.wait("pod/osm-injector", "condition=Ready", namespace=NAMESPACE)
    kubectl.wait("pod/osm-controller", "condition=Ready", namespace=NAMESPACE)
    kubectl.wait_for_existence("mutatingwebhookconfiguration", "osm-webhook-e2e")


def uninstall(cluster: ControlPlane) -> None:
    """Take it out, the namespaces of apps aside."""
    for kind in ("mutatingwebhookconfiguration", "validatingwebhookconfiguration"):
        cluster.kubectl("delete", kind, "--all")
    cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@contextmanager
def installed(cluster: ControlPlane, sidecar: str, init: str) -> Iterator[None]:
    """Open Service Mesh as long as the context lasts."""
    install(cluster, sidecar, init)
    try:
        yield
    finally:
        uninstall(cluster)


def join(cluster: ControlPlane, namespace: str) -> None:
    """Let the mesh have a namespace, as `osm namespace add` does, with an account for apps.

    Pods that are created from now on are injected: a Service refuses calls for a while after its
    first pod is ready, until kube-proxy has heard of it.
    """
    cluster.kubectl("label", "namespace", namespace, "openservicemesh.io/monitored-by=e2e")
    injection = "openservicemesh.io/sidecar-injection=enabled"
    cluster.kubectl("annotate", "namespace", namespace, injection)
    service = {
        "selector": {"app": "bookstore-v1"},
        "ports": [{"name": "http", "port": 14001, "targetPort": 14001, "appProtocol": "http"}],
    }
    cluster.kubectl.apply(
        _object("v1", "ServiceAccount", "bookstore"),
        _object("v1", "Service", "bookstore") | {"spec": service},
        namespace=namespace,
    )
    asked = json.dumps(reachable(pod("asked", container())))

    def is_injected() -> bool:
        create = ("create", "--dry-run=server", "-n", namespace, "-o", "json", "-f", "-")
        done = cluster.kubectl.run(*create, stdin=asked)
        return done.returncode == 0 and "envoy" in [
            one["name"] for one in json.loads(done.stdout)["spec"]["containers"]
        ]

    until(is_injected, "Open Service Mesh injects")


def reachable(manifest: Manifest) -> Manifest:
    """A pod that joins a mesh without DNS: a resolver that refuses at once, and a host's alias."""
    names = [{"ip": ADDRESS, "hostnames": [_CONTROLLER]}]
    resolver = {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["127.0.0.1"]}}
    extra = {"serviceAccountName": "bookstore", "hostAliases": names, **resolver}
    return manifest | {"spec": manifest["spec"] | extra}


def _object(version: str, kind: str, name: str) -> Manifest:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}}


def _pod(name: str, *arguments: str, environment: dict[str, str] | None = None) -> Manifest:
    told = {f"{name.removeprefix('osm-').upper()}_POD_NAME": name, **(environment or {})}
    container: dict[str, Any] = {
        "name": name,
        "image": IMAGE,
        "command": [f"/{name}", *_COMMON, *arguments],
        "env": [{"name": key, "value": value} for key, value in told.items()],
        "readinessProbe": {
            "httpGet": {
                "path": "/healthz" if name == "osm-injector" else "/health/ready",
                "port": 9091,
            },
            "periodSeconds": 1,
        },
    }
    spec = {
        "serviceAccountName": "osm",
        "terminationGracePeriodSeconds": 1,
        "hostNetwork": name == "osm-controller",
        "containers": [container],
    }
    metadata = {"name": name, "labels": {"app": name}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _mesh_config(init: str) -> Manifest:
    spec: Manifest = yaml.safe_load(f"""
        sidecar:
          enablePrivilegedInitContainer: false
          logLevel: info
          maxDataPlaneConnections: 0
          configResyncInterval: 0s
          localProxyMode: Localhost
          envoyImage: {MESH}
          initContainerImage: {init}
        traffic:
          enableEgress: true
          enablePermissiveTrafficPolicyMode: true
          outboundPortExclusionList: []
          inboundPortExclusionList: []
          outboundIPRangeExclusionList: []
          outboundIPRangeInclusionList: []
          networkInterfaceExclusionList: []
        observability:
          enableDebugServer: false
          osmLogLevel: info
          tracing: {{enable: false}}
        certificate: {{serviceCertValidityDuration: 24h, certKeyBitSize: 2048}}
        featureFlags:
          enableWASMStats: false
          enableEgressPolicy: true
          enableSnapshotCacheMode: false
          enableAsyncProxyServiceMapping: false
          enableIngressBackendPolicy: true
          enableEnvoyActiveHealthChecks: false
          enableRetryPolicy: false
    """)
    return _object("config.openservicemesh.io/v1alpha2", "MeshConfig", "osm-mesh-config") | {
        "spec": spec
    }
