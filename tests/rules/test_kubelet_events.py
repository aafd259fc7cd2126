"""How events are folded: counted, combined, and in the end not sent any more."""

import pytest

from osm_healthcheck.kubelet.describe import age
from osm_healthcheck.kubelet.events import Event, Recorder


def unhealthy(message: str = "Liveness probe failed: sick", container: str = "app") -> Event:
    return Event("Warning", "Unhealthy", message, container)


def test_the_same_event_is_counted() -> None:
    recorder = Recorder()
    recorder.record(unhealthy(), 100)
    recorder.record(unhealthy(), 110)
    recorded = recorder.record(unhealthy(), 120)
    assert recorder.list == [recorded]
    assert recorded.repetition(120) == "(x3 over 20s)"


def test_a_single_event_has_no_count() -> None:
    assert Recorder().record(unhealthy(), 1).repetition(9) == ""


def test_events_of_two_containers_are_two() -> None:
    recorder = Recorder()
    recorder.record(unhealthy(container="a"), 1)
    recorder.record(unhealthy(container="b"), 2)
    assert [recorded.count for recorded in recorder.list] == [1, 1]


def test_ten_messages_become_one_event() -> None:
    recorder = Recorder()
    for number in range(9):
        assert recorder.record(unhealthy(f"read tcp :{number}"), number).event.message == (
            f"read tcp :{number}"
        )
    combined = [recorder.record(unhealthy(f"read tcp :{n}"), n) for n in range(9, 12)]
    assert [one.event.message for one in combined] == [
        f"(combined from similar events): read tcp :{number}" for number in range(9, 12)
    ]
    assert combined[-1].count == 3
    assert len(recorder.list) == 10


def test_after_ten_quiet_minutes_nothing_is_combined() -> None:
    recorder = Recorder()
    for number in range(12):
        recorder.record(unhealthy(str(number)), number)
    assert recorder.record(unhealthy("new"), 12 + 601).event.message == "new"


def test_a_burst_of_25_is_sent_then_one_in_five_minutes() -> None:
    recorder = Recorder()
    sent = [recorder.record(unhealthy(), 0).sent for _ in range(27)]
    assert sent == [True] * 25 + [False] * 2
    assert not recorder.record(unhealthy(), 299).sent
    assert recorder.record(unhealthy(), 301).sent
    assert recorder.record(Event("Normal", "Killing", "…", "app"), 301).sent, "kinds count apart"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (119.9, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (600, "10m"),
        (10799, "179m"),
        (10800, "3h"),
        (11100, "3h5m"),
        (30000, "8h"),
        (172800, "2d"),
    ],
)
def test_age(seconds: float, text: str) -> None:
    assert age(seconds) == text
