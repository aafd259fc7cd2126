"""The list of a node's pods, as long as it may be: what reading it takes."""

import subprocess
import sys

from osm_healthcheck.probes.constants import DECLARED_PROBES

from .container_runtime import FakeRuntime, pod_sandbox
from .namespaces import PATIENCE

PODS, ANNOTATION_BYTES = 60, 200 * 1024
LIST = """
import asyncio, sys, tracemalloc
from osm_healthcheck.node.cri import ContainerRuntime

async def look():
    runtime = ContainerRuntime(sys.argv[1], 60)
    await runtime.network_of("none")  # whatever is loaded for a call
    tracemalloc.start()
    for _ in range(2):
        print(len(await runtime.sandboxes()), *tracemalloc.get_traced_memory())

asyncio.run(look())
"""


def listed(runtime: FakeRuntime) -> list[list[int]]:
    """How many pods are found, how many bytes are held then, and how many were at once."""
    done = subprocess.run(
        [sys.executable, "-c", LIST, str(runtime.path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    return [[int(word) for word in line.split()] for line in done.stdout.splitlines()]


def test_of_a_long_list_one_pod_is_held_at_a_time(runtime: FakeRuntime) -> None:
    """Of each what is declared stays, and of that no more than may be."""
    runtime.statuses["none"] = b""
    for number in range(PODS):
        name = "a" if number % 2 else DECLARED_PROBES
        text = f"{number}".ljust(ANNOTATION_BYTES)
        runtime.pods[f"pod{number}"] = pod_sandbox(f"pod{number}", {name: text})
    for count, held, most in listed(runtime):
        assert count == PODS
        assert held < PODS * 32 * 1024 < PODS * ANNOTATION_BYTES / 4
        assert most < PODS * 32 * 1024 + 10 * ANNOTATION_BYTES
