"""What strangers send to 9090, at its worst, in the memory that the chart gives."""

import concurrent.futures
import contextlib
import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from osm_healthcheck.injection.quantity import quantity
from osm_healthcheck.injector.body_reader import MAX_BODY_BYTES, MAX_BRACKETS
from tests.io.cgroup import memory_cgroup
from tests.io.injector import PATH, Injector, injector, review

_VALUES = Path(__file__).parents[2] / "charts" / "osm-healthcheck" / "values.yaml"
_POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web"},
    "spec": {"containers": [{"name": "app", "livenessProbe": {"httpGet": {"port": 8080}}}]},
}
_AROUND = len(json.dumps(review(_POD))) + 100


def _body(unit: str, around: str = "[]") -> bytes:
    """A review of a pod that holds as many of ``unit``, numbered, as it may."""
    count = (MAX_BODY_BYTES - _AROUND) // len(f"{unit},".replace("#", "00000").encode())
    if brackets := unit.count("[") + unit.count("{"):
        count = min(count, (MAX_BRACKETS - 100) // brackets)
    units = ",".join(unit.replace("#", f"{number:05x}") for number in range(count))
    text = json.dumps(review({**_POD, "x": "JUNK"}))
    return text.replace('"JUNK"', f"{around[0]}{units}{around[1]}").encode()


# what takes many times as much memory as its text
_WORST = {
    "arrays": _body("[" * 50 + "]" * 50),
    "objects": _body('{"#":"ab#"}'),
    "strings": _body('"ab"'),
    "wide strings": _body('"\U0001f600"'),
    "fields": _body('"#":1.5', "{}"),
}
_CONTAINERS = [
    {"name": f"c{number}", "livenessProbe": {"httpGet": {"port": 80}}} for number in range(5_000)
]
_REFUSED = {
    "arrays": b"[" * 50 + b"]" * 50,
    "objects of arrays": b'{"":[]}',
    "objects": b'{"":0}',
}


@contextlib.contextmanager
def _beginnings(one: Injector, count: int, part: bytes) -> Iterator[None]:
    """Callers that send ``part`` of a body, and nothing more."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            caller = stack.enter_context(contextlib.closing(one.connect()))
            caller.putrequest("POST", PATH)
            caller.putheader("Content-Type", "application/json")
            caller.putheader("Content-Length", str(MAX_BODY_BYTES))
            caller.endheaders(part)
        yield


def test_who_sends_slowly_takes_no_pods_place() -> None:
    pod = copy.deepcopy(_POD)
    pod["metadata"]["annotations"] = {"big": "x" * 200_000}
    with injector() as one, _beginnings(one, 40, b"{"):
        assert one.admit(pod, "istio")["patch"]
        with _beginnings(one, 6, b" " * (MAX_BODY_BYTES - 1)):
            assert one.admit(pod, "istio")["patch"]


def _answer(one: Injector, body: bytes) -> tuple[int, str]:
    """Asked again where it was the oldest of too many at once, and so was given up."""
    while True:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            answer = one.request(body=body)
            if answer[0] != 408:
                return answer


def test_the_worst_bodies_fit_into_the_memory_of_the_chart() -> None:
    limit = int(quantity(yaml.safe_load(_VALUES.read_text())["resources"]["limits"]["memory"]) or 0)
    bodies = [(body, 200) for body in _WORST.values()]
    for unit in _REFUSED.values():
        many = b",".join([unit] * ((MAX_BODY_BYTES - 10) // (len(unit) + 1)))
        bodies.append((b"[" + many + b"]", 413))
    crowded = {**_POD, "spec": {"containers": _CONTAINERS}}
    bodies.append((json.dumps(review(crowded)).encode(), 200))
    with memory_cgroup() as cgroup:
        cgroup.limit(limit)
        with (
            injector(prefix=cgroup.prefix) as one,
            _beginnings(one, 3, b" " * (MAX_BODY_BYTES - 1)),
            concurrent.futures.ThreadPoolExecutor(len(bodies)) as callers,
        ):
            asked = [callers.submit(_answer, one, body) for body, _ in bodies]
            answers = [work.result() for work in asked]
            assert [found for found, _ in answers] == [status for _, status in bodies], answers
            assert one.admit(_POD, "istio")["patch"]
            assert sum(cgroup.peak()) < limit, cgroup.peak()
