"""No vector is forgotten: each has a test, or a reason why not."""

from tests.io import test_kubelet_vectors as served
from tests.kubelet_vectors import LEFT_OUT, LEFT_OUT_GROUPS, VECTORS
from tests.rules import test_kubelet_vectors as pure


def test_every_group_is_tested_or_left_out_with_a_reason() -> None:
    groups = {vector["group"] for vector in VECTORS}
    assert groups == {*pure.GROUPS, *served.GROUPS, *LEFT_OUT_GROUPS}
    assert not LEFT_OUT_GROUPS.keys() & {*pure.GROUPS, *served.GROUPS}


def test_single_vectors_left_out_exist_and_have_a_reason() -> None:
    assert LEFT_OUT.keys() <= {vector["id"] for vector in VECTORS}
    assert all([*LEFT_OUT.values(), *LEFT_OUT_GROUPS.values()])
