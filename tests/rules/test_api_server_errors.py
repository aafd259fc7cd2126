"""Which answers of the API server mean that somebody else was quicker."""

import pytest

from osm_healthcheck.injector.api_server import ApiServerError


@pytest.mark.parametrize(
    ("what", "status", "is_wrong", "conflict"),
    [
        ("PUT /api/v1/namespaces/a/secrets/b", 409, False, True),
        ("POST /api/v1/namespaces/a/secrets", 409, False, True),
        ("PATCH /apis/admissionregistration.k8s.io/v1/x", 422, False, True),  # its test has failed
        ("PATCH /apis/admissionregistration.k8s.io/v1/x", 422, True, False),
        ("PUT /api/v1/namespaces/a/secrets/b", 422, True, False),  # immutable, or of another type
        ("POST /api/v1/namespaces/a/secrets", 422, True, False),
        ("PATCH /apis/admissionregistration.k8s.io/v1/x", 403, False, False),
    ],
)
def test_a_conflict_is_one_that_reading_again_may_end(
    what: str, status: int, is_wrong: bool, conflict: bool
) -> None:
    assert ApiServerError(what, "no", status, is_wrong=is_wrong).is_conflict is conflict
