"""The lines that differ: of any two texts, and of long lists of like objects."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from osm_healthcheck.cli.diff_output import differences
from tests.manifests.test_command import INJECT, run

_lines = st.lists(st.sampled_from("aabbcdefgh"), max_size=30)


@given(_lines, _lines)
def test_what_is_equal_and_what_differs_are_the_whole_of_both(old: Any, new: Any) -> None:
    low = new_low = 0
    for tag, *places in differences(old, new):
        first, last, new_first, new_last = places
        assert (first, new_first) == (low, new_low)
        assert (old[first:last] == new[new_first:new_last]) is (tag == "equal")
        low, new_low = last, new_last
    assert (low, new_low) == (len(old), len(new))


def test_a_long_list_of_like_objects_takes_no_longer_than_its_length() -> None:
    """The suite's own limit of time ends this where it is cubic: that took minutes."""
    container = {"name": "app", "image": "app:1", "readinessProbe": {"tcpSocket": {"port": 8080}}}
    items = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"web-{number}", "labels": {"app": "web"}},
            "spec": {"restartPolicy": "Always", "containers": [container]},
        }
        for number in range(1000)
    ]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items}, indent=2)
    done = run(*INJECT, "--diff", text=text)
    assert done.returncode == 1
    assert done.stdout.count('\n-              "tcpSocket": {') == len(items)
