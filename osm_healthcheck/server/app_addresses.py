"""Where the app is: which addresses stand for it when a caller has come in at one of ours."""

from osm_healthcheck.probes.addresses import is_loopback


class AppAddresses:
    """The addresses to try, in order; going on to the next is for refusals only.

    Args:
        target_hosts: what ``--target-host`` named; it replaces everything else.
        pod_ip: the pod's own address, ``""`` where it is not known.
        declared: whether probes are declared. Where none are, loopback comes first: OSM's way.
    """

    def __init__(self, target_hosts: tuple[str, ...], pod_ip: str, declared: bool) -> None:
        self._target_hosts = target_hosts
        self._desk = ("127.0.0.1", "::1", pod_ip) if pod_ip else ("127.0.0.1", "::1")
        self._declared = declared

    def addresses(self, local: str) -> tuple[str, ...]:
        """The addresses of the app for a caller that connected to ``local``.

        The kubelet connects to the pod's address, and an app is judged as the kubelet would judge
        it: at that address, and nowhere else.
        """
        if self._target_hosts:
            return self._target_hosts
        if is_loopback(local):
            return self._desk
        return (local,) if self._declared else ("127.0.0.1", local)
