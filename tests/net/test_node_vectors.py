"""The kubelet's vectors through node mode: the sidecar's own tests, with an agent in its place."""

import pytest

from tests.io import (
    test_grpc,
    test_vectors_http,
    test_vectors_redirect,
    test_vectors_tcp,
    test_vectors_tls,
)
from tests.io.test_grpc import (  # noqa: F401
    test_a_check_that_hangs_is_504,
    test_a_refused_dial_is_404_at_the_deadline,
    test_an_app_that_comes_up_within_the_deadline_is_200,
    test_what_is_no_grpc_server_is_503,
)
from tests.io.test_vectors_http import (  # noqa: F401
    test_headers,
    test_headers_that_the_caller_does_not_send,
    test_http,
    test_url,
)
from tests.io.test_vectors_redirect import *  # noqa: F403
from tests.io.test_vectors_tcp import *  # noqa: F403
from tests.io.test_vectors_tls import *  # noqa: F403

from .namespaces import need
from .node_agent import node_mode

_MODULES = (
    *(test_grpc, test_vectors_http, test_vectors_redirect, test_vectors_tcp),
    test_vectors_tls,
)


@pytest.fixture(autouse=True)
def _by_node(monkeypatch: pytest.MonkeyPatch) -> None:
    need(root=True)
    for module in _MODULES:
        monkeypatch.setattr(module, "sidecar", node_mode)
