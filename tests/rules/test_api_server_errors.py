"""Which answers of the API server mean that somebody else was quicker."""

import pytest

from osm_healthcheck.injector.api_server import ApiServerError


@pytest.mark.parametrize(
    ("what", "status", "conflict"),
    [
        ("PUT /api/v1/namespaces/a/secrets/b", 409, True),
        ("POST /api/v1/namespaces/a/secrets", 409, True),
        ("PATCH /apis/admissionregistration.k8s.io/v1/x", 422, True),  # its test has failed
        ("PUT /api/v1/namespaces/a/secrets/b", 422, False),  # immutable, or of another type
        ("POST /api/v1/namespaces/a/secrets", 422, False),
        ("PATCH /apis/admissionregistration.k8s.io/v1/x", 403, False),
    ],
)
def test_a_conflict_is_one_that_reading_again_may_end(
    what: str, status: int, conflict: bool
) -> None:
    assert ApiServerError(what, "no", status).is_conflict is conflict
