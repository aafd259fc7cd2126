"""Whether tests may have namespaces of their own."""

import os
import shutil


def can_unshare() -> bool:
    """Root, and the tools for it; where ``CI`` is set it is an error to lack them."""
    able = bool(shutil.which("unshare") and shutil.which("ip")) and os.geteuid() == 0
    assert able or "CI" not in os.environ, "CI needs root, unshare (util-linux) and ip (iproute2)"
    return able
