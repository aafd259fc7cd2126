"""Asking an ``httpGet`` probe of a manifest, as the kubelet does."""

import contextlib
import ssl
from typing import Any

from tests.io.wire import Answer, connect, parse, read_to_end


def ask(address: str, action: dict[str, Any]) -> Answer:
    """Send the request of ``action`` to ``address``; the answer, with TLS not verified."""
    port = action["port"]
    headers = {"Host": f"{address}:{port}", "User-Agent": "kube-probe/1.34", "Accept": "*/*"}
    headers |= {one["name"]: one["value"] for one in action.get("httpHeaders") or []}
    lines = [f"GET {action.get('path') or '/'} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(connect(address, port))
        if action.get("scheme") == "HTTPS":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            sock = stack.enter_context(context.wrap_socket(sock))
        sock.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode())
        return parse(*read_to_end(sock))
