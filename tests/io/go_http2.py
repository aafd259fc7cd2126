"""What Go makes of the cases in `http2_cases`, and what our prober makes of them."""

import asyncio
import json
import re
from functools import cache
from pathlib import Path

from osm_healthcheck.kubelet.address import PodAddress
from osm_healthcheck.kubelet.handlers import run_handler
from osm_healthcheck.probes.probe import Handler
from tests.io.kubelet import NO_VERDICT, PATIENCE

FILE = Path(__file__).parent.parent / "vectors" / "go-http2.json"
_OWN = re.compile(r"127\.0\.0\.1:\d+->")
# what an app comes to that Go gives up at its timeout
_TIMED_OUT = re.compile("timeout:|Timeout|deadline")

Expected = tuple[str, str | None]


@cache
def expected(kind: str) -> dict[str, Expected]:
    """By name: the result, and the text where it is always the same."""
    return {name: (one, two) for name, (one, two) in json.loads(FILE.read_text())[kind].items()}


def patience(kind: str, name: str) -> int:
    """The timeout for a case: short where it is to be met, else longer than a machine stalls."""
    text = expected(kind)[name][1]
    return 1 if text is None or _TIMED_OUT.search(text) else PATIENCE


def by_our_prober(handler: Handler, seconds: float, port: int) -> Expected:
    """What our own prober makes of it, in the terms of the file."""
    found = asyncio.run(run_handler(handler, seconds, PodAddress(), {}))
    return in_its_terms(found.result, found.output, found.error, port)


def in_its_terms(result: str, output: str, error: str | None, port: int) -> tuple[str, str]:
    """What a prober concludes of the app on ``port``, in the terms of the file."""
    text = (error or output).replace(f":{port}", ":PORT")
    return NO_VERDICT if error is not None else result, _OWN.sub("127.0.0.1:OWN->", text)
