"""The proof in Consul, whose annotations stand in for our init container."""

from .meshed_pod import MeshedPod, meshed_pod
from .meshes import CONSUL
from .namespaces import PATIENCE
from .pod_manifest import injected, manifest

_PREFIX = "consul.hashicorp.com/transparent-proxy-exclude-"


def exclude(here: MeshedPod, annotations: dict[str, str]) -> None:
    """Do as Consul's annotations say: the rules of ``sdk/iptables/iptables.go`` for exclusions."""
    rules = [
        f"-I CONSUL_PROXY_INBOUND -p tcp --dport {port} -j RETURN"
        for port in annotations[_PREFIX + "inbound-ports"].split(",")
    ] + [
        f"-I CONSUL_PROXY_OUTPUT -m owner --uid-owner {user} -j RETURN"
        for user in annotations[_PREFIX + "uids"].split(",")
    ]
    table = "\n".join(["*nat", *rules, "COMMIT", ""])
    here.pod.run("iptables-nft-restore", "--noflush", stdin=table)


def test_the_injected_manifest_in_consul() -> None:
    """It redirects also what a pod says to its own address: our questions to the app, too."""
    with meshed_pod() as here:
        direct = here.in_turn(manifest)
        pod = injected(PATIENCE, "consul")
        here.intercept(CONSUL, "nft")
        exclude(here, pod["metadata"]["annotations"])
        here.start_sidecar(pod)
        assert here.in_turn(lambda timeout: injected(timeout, "consul")) == direct
