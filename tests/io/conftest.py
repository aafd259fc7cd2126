"""What several of these tests are set up with."""

from collections.abc import Iterator

import pytest

from tests.io.attacked_pod import AttackedPod, pod


@pytest.fixture(scope="module")
def attacked_pod() -> Iterator[AttackedPod]:
    """A pod for all tests of a file."""
    with pod() as running:
        yield running


@pytest.fixture
def attacked(attacked_pod: AttackedPod) -> Iterator[AttackedPod]:
    """The pod, which is probed during the test and looked over after it."""
    with attacked_pod.kubelet():
        yield attacked_pod
    attacked_pod.assert_undamaged()
