"""AdmissionReview ``admission.k8s.io/v1``: what the API server asks, and what it is told.

As ``k8s.io/api/admission/v1`` has it and ``apiserver/pkg/admission/plugin/webhook`` reads it.
"""

import base64
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from osm_healthcheck.errors import FieldError, InvalidInputError
from osm_healthcheck.injector.json_patch import Operation
from osm_healthcheck.probes.quote import quoted

API_VERSION = "admission.k8s.io/v1"
KIND = "AdmissionReview"
# apiserver/pkg/endpoints/filters/warning.go: what is more is cut off or dropped there
WARNING_CHARACTERS = 256
ALL_WARNINGS_CHARACTERS = 4096
_compact = json.JSONEncoder(separators=(",", ":")).encode
_MORE = "osm-healthcheck: there is more: run osm-healthcheck inject on the manifest"


@dataclass(frozen=True, slots=True)
class AdmissionRequest:
    """What is asked. ``object`` is the object to admit; ``None`` for some operations."""

    uid: str
    operation: str
    resource: str
    subresource: str
    namespace: str
    object: object


@dataclass(frozen=True, slots=True)
class AdmissionResponse:
    """What is answered. ``message`` says why, where it is not ``allowed``."""

    uid: str
    allowed: bool = True
    patch: Sequence[Operation] = ()
    warnings: Sequence[str] = ()
    message: str = field(default="")

    def as_review(self) -> bytes:
        """The body of the answer: an AdmissionReview in JSON."""
        response: dict[str, Any] = {"uid": self.uid, "allowed": self.allowed}
        if self.patch:
            patch = _compact(self.patch).encode()
            response["patchType"] = "JSONPatch"
            response["patch"] = base64.b64encode(patch).decode()
        if warnings := list(_limited(self.warnings)):
            response["warnings"] = warnings
        if self.message:
            response["status"] = {
                "status": "Failure",
                "reason": "Invalid",
                "code": 422,
                "message": self.message,
            }
        review = {"apiVersion": API_VERSION, "kind": KIND, "response": response}
        return _compact(review).encode()


def read_review(body: bytes) -> AdmissionRequest:
    """Read the body of a request.

    Raises:
        InvalidInputError: where it is no AdmissionReview that can be answered.
    """
    try:
        review = json.loads(body)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise _invalid("body", f"is not JSON: {reason}") from None
    if not isinstance(review, dict):
        raise _invalid("body", f"must be an {KIND}: a mapping")
    for name, supported in (("apiVersion", API_VERSION), ("kind", KIND)):
        if review.get(name) != supported:
            raise _invalid(
                name,
                f'Unsupported value: {quoted(review.get(name))}: supported values: "{supported}"',
            )
    request = review.get("request")
    if not isinstance(request, dict):
        raise _invalid("request", "Required value: must be a mapping")
    uid = request.get("uid")
    if not isinstance(uid, str) or not uid:
        raise _invalid("request.uid", "Required value: the answer carries it")
    resource = request.get("resource")
    resource = resource if isinstance(resource, dict) else {}
    group, plural = (str(resource.get(name) or "") for name in ("group", "resource"))
    return AdmissionRequest(
        uid=uid,
        operation=str(request.get("operation") or ""),
        resource=f"{plural}.{group}" if group else plural,
        subresource=str(request.get("subResource") or ""),
        namespace=str(request.get("namespace") or ""),
        object=request.get("object"),
    )


def _limited(warnings: Iterable[str]) -> Iterator[str]:
    """The warnings within the limits of the API server, each on one line."""
    left = ALL_WARNINGS_CHARACTERS - len(_MORE)
    for warning in warnings:
        line = " ".join(warning.split())
        if len(line) > WARNING_CHARACTERS:
            line = f"{line[: WARNING_CHARACTERS - 1]}…"
        left -= len(line)
        if left < 0:
            yield _MORE
            return
        yield line


def _invalid(where: str, problem: str) -> InvalidInputError:
    return InvalidInputError([FieldError(where, problem)])
