"""The rules of tests/net/meshes are those that Istio's own program installs."""

import pytest

from tests.net.meshes import RULES
from tests.net.namespaces import Namespace, pod_and_node

from .build import program
from .pods import ISTIO_IPTABLES

pytestmark = pytest.mark.e2e


def _rules(pod: Namespace, tool: str) -> list[str]:
    text = pod.run(f"{tool}-nft-save", "-t", "nat").stdout
    return [line for line in text.splitlines() if line.startswith("-A")]


def test_the_rules_of_the_tests_are_the_real_ones() -> None:
    program_itself = str(program("istio-iptables"))
    with pod_and_node() as (pod, _):
        arguments = (*ISTIO_IPTABLES[1:], "-d", "15090,15021,15020", "--dual-stack")
        pod.run(program_itself, *arguments)
        real = {tool: _rules(pod, tool) for tool in ("iptables", "ip6tables")}
    with pod_and_node() as (pod, _):
        for version, tool in (4, "iptables"), (6, "ip6tables"):
            rules = (RULES / f"istio.ipv{version}").read_text()
            pod.run(f"{tool}-nft-restore", "--noflush", stdin=rules)
        ours = {tool: _rules(pod, tool) for tool in real}
    assert ours == real
    assert all(real.values())
