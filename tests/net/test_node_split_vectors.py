"""The kubelet's vectors through node mode in two processes: whatever connects, and all of TLS."""

from functools import partial

import pytest

from tests.io import test_grpc, test_vectors_tcp, test_vectors_tls
from tests.io.test_grpc import (  # noqa: F401
    test_a_check_that_hangs_is_504,
    test_a_refused_dial_is_404_at_the_deadline,
    test_an_app_that_comes_up_within_the_deadline_is_200,
    test_what_is_no_grpc_server_is_503,
)
from tests.io.test_vectors_tcp import *  # noqa: F403
from tests.io.test_vectors_tls import *  # noqa: F403

from .namespaces import need
from .node_agent import node_mode

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _by_two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    need(root=True)
    for module in (test_grpc, test_vectors_tcp, test_vectors_tls):
        monkeypatch.setattr(module, "sidecar", partial(node_mode, is_split=True))
