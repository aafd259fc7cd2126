"""The meshes that ``--mesh`` knows, by their own annotations on a pod."""

from osm_healthcheck.injection.mesh import Mesh

MESHES = {
    mesh.name: mesh
    for mesh in (
        Mesh(
            "istio",
            ports="traffic.sidecar.istio.io/excludeInboundPorts",
            ports_setting="values.global.proxy.excludeInboundPorts",
            switches={"sidecar.istio.io/rewriteAppHTTPProbers": "false"},
            rewrites_native_sidecars=True,
            proxy="istio-proxy",
            proxy_user=1337,
            # pkg/kube/inject/inject.go: injectRequired; the namespace's are the webhook's selectors
            injected_by=("sidecar.istio.io/inject", "istio-injection"),
            revision="istio.io/rev",
            prefixes=("sidecar.istio.io/", "traffic.sidecar.istio.io/", "proxy.istio.io/"),
            containers=("istio-proxy", "istio-init"),
        ),
        Mesh(
            "kuma",
            ports="traffic.kuma.io/exclude-inbound-ports",
            ports_setting="runtime.kubernetes.injector.sidecarTraffic.excludeInboundPorts",
            switches={"kuma.io/application-probe-proxy-port": "0"},
            proxy="kuma-sidecar",
            proxy_user=5678,
            # pkg/plugins/runtime/k8s/metadata/annotations.go: KumaSidecarInjectionAnnotation
            injected_by=("kuma.io/sidecar-injection",),
            prefixes=("kuma.io/", "traffic.kuma.io/"),
            containers=("kuma-sidecar", "kuma-init"),
        ),
        Mesh(
            "linkerd",
            ports="config.linkerd.io/skip-inbound-ports",
            ports_setting="proxyInit.ignoreInboundPorts and the namespace's annotation",
            # charts/linkerd-control-plane/values.yaml; the opaque ports (25, 3306, …) are another
            # list, which this annotation does not touch
            default_ports="4567,4568",
            proxy="linkerd-proxy",
            proxy_user=2102,
            injected_by=("linkerd.io/inject",),  # pkg/k8s/labels.go: ProxyInjectAnnotation
            prefixes=("linkerd.io/", "config.linkerd.io/"),
            containers=("linkerd-proxy", "linkerd-init"),
        ),
        Mesh(
            "consul",
            ports="consul.hashicorp.com/transparent-proxy-exclude-inbound-ports",
            users="consul.hashicorp.com/transparent-proxy-exclude-uids",
            switches={"consul.hashicorp.com/transparent-proxy-overwrite-probes": "false"},
            proxy="consul-dataplane",
            proxy_user=5995,
            # connect-inject/constants/annotations_and_labels.go: AnnotationInject
            injected_by=("consul.hashicorp.com/connect-inject", "consul.hashicorp.com/mesh-inject"),
            prefixes=("consul.hashicorp.com/",),
            containers=("consul-dataplane", "consul-connect-inject-init"),
        ),
        Mesh(
            "osm",
            injector=True,
            # pkg/constants/constants.go of Open Service Mesh and osm-edge, and of FSM
            injected_by=("openservicemesh.io/sidecar-injection", "flomesh.io/sidecar-injection"),
            containers=("osm-init", "fsm-init"),
        ),
        Mesh("none"),
    )
}
