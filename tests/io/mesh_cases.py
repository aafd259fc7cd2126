"""The runtime cases of six meshes: which test has which, and where the design differs."""

import re
from collections.abc import Callable
from typing import Any, TypeVar

from tests.io import vectors

CASES = vectors.runtime_cases()

# Where DESIGN.md and a case's target differ, the design wins. This is why.
DIFFERENT = {
    "RT-021": "brackets around an address are refused at the start, not at the first probe",
    "RT-023": "ten requests and then 502: the answer is a gateway's, not the app's",
    "RT-024": "a redirect elsewhere is passed on, and is the kubelet's own warning",
    "RT-025": "3xx is passed on too: the kubelet knows what to make of it",
    "RT-031": "the body is streamed, so that it is the app's own; the kubelet stops at 10 KiB",
    "RT-043": "a refused connection is 404, the answer that OSM gives, for grpc as for tcp",
    "RT-044": "504 tells a deadline from an app that says it is not serving (503)",
}
NOT_OURS = {
    "RT-060": "there are no control endpoints: the sidecar is ended by signals alone",
}
COVERED: dict[str, str] = {}
F = TypeVar("F", bound=Callable[..., Any])


def case(*names: str) -> Callable[[F], F]:
    """Note that a test is the test of these cases."""

    def note(function: F) -> F:
        COVERED.update(dict.fromkeys(names, function.__name__))
        return function

    return note


def target(name: str) -> int:
    """The status that a case asks for; where the design differs this must not be called."""
    assert name not in DIFFERENT
    found = CASES[name].get("target")
    number = re.match(r"\d+", str(found))
    assert number, found
    return int(number[0])
