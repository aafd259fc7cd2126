"""Pods as hypothesis makes them: every field that injection looks at, and some that it does not."""

from typing import Any

from hypothesis import assume
from hypothesis import strategies as st

from osm_healthcheck.errors import InvalidInputError
from osm_healthcheck.injection.containers import Images
from osm_healthcheck.injection.inject import Injection, inject
from osm_healthcheck.mesh.annotations import MESHES

VERSION = "2.0.0"
IMAGES = Images("osm-healthcheck:2.0.0", "osm-healthcheck-init:2.0.0")
Strategy = st.SearchStrategy[Any]
NAMES = ("app", "app-2", "api", "db")

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 99) | st.sampled_from(["", "yes", "010", "a: b"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=2)
    ),
    max_leaves=4,
)
_ports = st.sampled_from([80, 8080, 8443, 50051])
_port_or_name = _ports | st.just("web")
_headers = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(["Host", "X-A", "Authorization"]), "value": st.text("ab$(}é")}
    ),
    max_size=2,
)


def _optional(**fields: Strategy) -> Strategy:
    return st.fixed_dictionaries({}, optional=fields)


def _merged(*parts: Strategy) -> Strategy:
    return st.tuples(*parts).map(lambda found: {k: v for part in found for k, v in part.items()})


_http_get = _merged(
    st.fixed_dictionaries({"port": _port_or_name}),
    _optional(
        path=st.sampled_from(["/", "/healthz", "ready", "/a?b=c&d=%20", "/$(HOME)", None, ""]),
        scheme=st.sampled_from(["HTTP", "HTTPS"]),
        httpHeaders=_headers,
        host=st.sampled_from(["", "127.0.0.1", "db.example", None]),
        future=json_values,
    ),
)
_tcp = _merged(
    st.fixed_dictionaries({"port": _port_or_name}),
    _optional(host=st.sampled_from(["", "127.0.0.1"]), future=json_values),
)
_grpc = _merged(
    st.fixed_dictionaries({"port": _ports}),
    _optional(service=st.sampled_from(["", "my.Service", "é", None])),
)
_exec = st.just({"command": ["cat", "/tmp/healthy"]})
_handler: Strategy = st.one_of(
    st.fixed_dictionaries({"httpGet": _http_get}),
    st.fixed_dictionaries({"tcpSocket": _tcp}),
    st.fixed_dictionaries({"httpGet": st.none(), "tcpSocket": _tcp}),
    st.fixed_dictionaries({"grpc": _grpc}),
    st.fixed_dictionaries({"exec": _exec}),
)
_times = _optional(
    timeoutSeconds=st.integers(0, 30),
    periodSeconds=st.integers(0, 30),
    initialDelaySeconds=st.integers(0, 30),
    failureThreshold=st.integers(0, 5),
    futureSeconds=json_values,
)
probes = _merged(_times, _handler)
_hook: Strategy = st.one_of(
    st.fixed_dictionaries({"httpGet": _http_get}),
    st.fixed_dictionaries({"exec": _exec}),
    st.sampled_from([{"sleep": {"seconds": 5}}, {"tcpSocket": {"port": 80}}, {}, None]),
)
_container_fields = _optional(
    lifecycle=_optional(postStart=_hook, preStop=_hook, future=json_values) | st.none(),
    livenessProbe=probes | st.none(),
    readinessProbe=probes,
    startupProbe=probes,
    env=st.lists(st.fixed_dictionaries({"name": st.just("A"), "value": st.text(max_size=5)})),
    resources=st.sampled_from(
        [
            None,
            {"limits": {"cpu": "1", "memory": "1Gi"}},
            {"limits": {"cpu": 1, "memory": "1Gi"}, "requests": {"cpu": "1000m"}},
            {"requests": {"cpu": "1"}},
        ]
    ),
    securityContext=st.sampled_from([{}, {"runAsUser": 1500}]),
    future=json_values,
)


def _container(name: str) -> Strategy:
    return _merged(
        st.just({"name": name, "image": f"{name}:1"}),
        st.just({"ports": [{"name": "web", "containerPort": 8080}]}),
        _container_fields,
    )


def _native(name: str) -> Strategy:
    return _container(name).map(lambda one: {**one, "restartPolicy": "Always"})


_quantities = _optional(cpu=st.sampled_from(["1", 2, "500m"]), memory=st.just("1Gi")) | st.none()
_pod_resources = _optional(requests=_quantities, limits=_quantities) | st.none()
_plain_init: Strategy = st.just({"name": "setup", "image": "setup:1"})
_annotations = st.none() | _optional(
    **{
        "team": st.just("shop"),
        "traffic.sidecar.istio.io/excludeInboundPorts": st.sampled_from(["", "80, 15901", "9000"]),
        "sidecar.istio.io/rewriteAppHTTPProbers": st.sampled_from(["true", "false"]),
        "traffic.kuma.io/exclude-inbound-ports": st.just("80,"),
        "config.linkerd.io/skip-inbound-ports": st.just("8000-9000"),
        "healthcheck.openservicemesh.io/skip-containers": st.sampled_from(["api", "api, db"]),
        "healthcheck.openservicemesh.io/inject": st.sampled_from(
            ["enabled", "Enabled", "enabled", "disabled"]
        ),
    }
)
_metadata: Strategy = st.sampled_from([None, {}]) | _merged(
    _optional(labels=st.just({"app": "a"}), annotations=_annotations),
)


@st.composite
def templates(draw: st.DrawFn) -> dict[str, object]:
    """The template of a pod; ``metadata`` may be there and empty, or not there."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    split = draw(st.integers(1, len(names)))
    init = [draw(_native(name)) for name in names[split:]]
    if draw(st.booleans()):
        init.insert(draw(st.integers(0, len(init))), draw(_plain_init))
    spec: dict[str, object] = {"containers": [draw(_container(name)) for name in names[:split]]}
    has_list: bool = draw(st.booleans())
    if init or has_list:
        spec["initContainers"] = init or draw(st.sampled_from([None, []]))
    spec |= draw(
        _optional(
            hostNetwork=st.sampled_from([False, False, False, False, True]),
            resources=_pod_resources,
            future=json_values,
        )
    )
    template: dict[str, object] = {"spec": spec}
    if draw(st.booleans()):
        template["metadata"] = draw(_metadata)
    return template


@st.composite
def workloads(draw: st.DrawFn) -> dict[str, object]:
    """A Pod, Deployment or CronJob, or a List of some."""
    kind = draw(st.sampled_from(["Pod", "Deployment", "CronJob", "List"]))
    if kind == "List":
        items = draw(st.lists(workloads(), max_size=2))
        return {"apiVersion": "v1", "kind": "List", "items": items}
    template = draw(templates())
    if kind == "Pod":
        return {"apiVersion": "v1", "kind": "Pod", **template}
    head = {"kind": kind, "metadata": {"name": "web"}}
    if kind == "Deployment":
        return {"apiVersion": "apps/v1", **head, "spec": {"template": template}}
    job = {"jobTemplate": {"spec": {"template": template}}}
    return {"apiVersion": "batch/v1", **head, "spec": job}


injections = st.builds(
    Injection,
    mesh=st.sampled_from(list(MESHES.values())),
    images=st.just(IMAGES),
    version=st.just(VERSION),
    https=st.sampled_from(["passthrough", "request"]),
    proxy=st.sampled_from(["sidecar", "mesh", "node"]),
    sidecar=st.sampled_from(["native", "container"]),
    user=st.sampled_from([15904, None]),
    init=st.booleans(),
    hooks=st.sampled_from(["rewrite", "leave"]),
    allow_from=st.sampled_from(["", "10.0.0.0/8,fd00::"]),
)


def injected(manifest: object, how: Injection) -> Any:
    """``manifest`` after injection; not an example where it is refused (a Job, say)."""
    try:
        return inject(manifest, how).manifest
    except InvalidInputError:
        assume(False)


def injection(mesh: str = "none", **options: object) -> Injection:
    """An injection for ``mesh`` with the defaults of the command."""
    return Injection(MESHES[mesh], IMAGES, VERSION, **options)  # type: ignore[arg-type]
