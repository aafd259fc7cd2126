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
        ),
        Mesh(
            "kuma",
            ports="traffic.kuma.io/exclude-inbound-ports",
            ports_setting="runtime.kubernetes.injector.sidecarTraffic.excludeInboundPorts",
            switches={"kuma.io/application-probe-proxy-port": "0"},
            proxy="kuma-sidecar",
            proxy_user=5678,
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
        ),
        Mesh(
            "consul",
            ports="consul.hashicorp.com/transparent-proxy-exclude-inbound-ports",
            users="consul.hashicorp.com/transparent-proxy-exclude-uids",
            switches={"consul.hashicorp.com/transparent-proxy-overwrite-probes": "false"},
            proxy="consul-dataplane",
            proxy_user=5995,
        ),
        Mesh("osm", injector=True),
        Mesh("none"),
    )
}
