"""Which of a pod's addresses an app listens on decides as it does for the kubelet."""

from tests.net.pod_addresses import statuses_in_a_pod


def test_an_app_is_judged_at_the_address_that_the_kubelet_asks() -> None:
    assert statuses_in_a_pod() == {
        "http on pod IP": 200,
        "tcp on pod IP": 200,
        "undeclared tcp on pod IP": 200,
        "http on pod IP, --target-host": 503,
        # the kubelet cannot reach it, so nobody is told that it is well
        "http on loopback": 503,
        "tcp on loopback": 404,
        # OSM's way, where its own injector starts us
        "undeclared tcp on loopback": 200,
        "http on loopback, --target-host": 200,
        "http on any": 200,
        "tcp on any": 200,
        "undeclared tcp on any": 200,
        "http on any, --target-host": 200,
        "caller inside --allow-from": 200,
        "caller outside --allow-from": 403,
    }
