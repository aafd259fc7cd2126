"""The meshes that ``--mesh`` knows, by their own annotations on a pod."""

from osm_healthcheck.injection.mesh import Mesh

MESHES = {
    mesh.name: mesh
    for mesh in (
        Mesh(
            "istio",
            ports="traffic.sidecar.istio.io/excludeInboundPorts",
            switches={"sidecar.istio.io/rewriteAppHTTPProbers": "false"},
            proxy_user=1337,
        ),
        Mesh(
            "kuma",
            ports="traffic.kuma.io/exclude-inbound-ports",
            switches={"kuma.io/application-probe-proxy-port": "0"},
            proxy_user=5678,
        ),
        Mesh("linkerd", ports="config.linkerd.io/skip-inbound-ports", proxy_user=2102),
        Mesh(
            "consul",
            ports="consul.hashicorp.com/transparent-proxy-exclude-inbound-ports",
            users="consul.hashicorp.com/transparent-proxy-exclude-uids",
            switches={"consul.hashicorp.com/transparent-proxy-overwrite-probes": "false"},
            proxy_user=5995,
        ),
        Mesh("osm", injector=True),
        Mesh("none"),
    )
}
