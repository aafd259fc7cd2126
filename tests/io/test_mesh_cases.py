"""Every runtime case of the six meshes has its test."""

from tests.io import test_mesh_checks, test_mesh_proxies
from tests.io.mesh_cases import CASES, COVERED, DIFFERENT, NOT_OURS


def test_no_case_is_left_out() -> None:
    tests = vars(test_mesh_checks) | vars(test_mesh_proxies)
    assert all(callable(tests[test]) for test in COVERED.values())
    assert COVERED.keys() | NOT_OURS.keys() == CASES.keys()
    assert not COVERED.keys() & NOT_OURS.keys()
    assert DIFFERENT.keys() <= COVERED.keys()
