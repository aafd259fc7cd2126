"""``demo``: every sickness shows, and it ends well."""

import json
import re
import subprocess
import sys

from osm_healthcheck.demo.script import CHAPTERS
from tests.io.unshare import run_beside_a_holder_of_15904


def test_demo_shows_every_sickness_and_recovers() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "osm_healthcheck", "demo", "--for", "1s", "-o", "json"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    objects = [json.loads(line) for line in ran.stdout.splitlines()]
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout
    chapters = [one for one in objects if one["kind"] == "Chapter"]
    assert [one["name"] for one in chapters] == [
        "beginning",
        *(chapter.name for chapter in CHAPTERS),
        "end",
    ]
    for chapter, told in zip(CHAPTERS, chapters[1:], strict=False):
        following = objects[objects.index(told) :]
        end = next(i for i, one in enumerate(following) if i and one["kind"] == "Chapter")
        messages = [one["message"] for one in following[:end] if one["kind"] == "Event"]
        assert any(chapter.event in message for message in messages), (chapter.name, messages)
    first = chapters[0]["withoutInjection"]
    about = [line.partition(": ")[0] for line in first]
    shop, till, search = (f"spec.containers{{{name}}}" for name in ("shop", "till", "search"))
    assert about == [shop, till, "stock", search]
    assert "Readiness probe failed: Get" in first[0]
    assert first[1].endswith("remote error: tls: certificate required")
    assert first[2] == "stock: Readiness probe succeeds, whatever the app does"
    assert "timeout: failed to connect service" in first[3]
    last = [one for one in objects if one["kind"] == "Status"][-1]
    assert (last["ready"], last["restartCount"]) == (True, 1)


def test_demo_says_what_is_in_its_way() -> None:
    ran = run_beside_a_holder_of_15904("demo")
    assert re.fullmatch(
        r"osm-healthcheck demo: cannot listen on 127[.0-9]+:15904: address already in use; .*\n",
        ran.stderr,
    )
    assert "unshare -rn sh -c 'ip link set lo up; exec osm-healthcheck demo'" in ran.stderr
    assert ran.returncode == 1
