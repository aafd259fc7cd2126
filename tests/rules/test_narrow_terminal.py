"""What a narrow terminal shows of a watch: events whole, and of a long name its end."""

from osm_healthcheck.kubelet.events import Event, Recorded
from osm_healthcheck.kubelet.pod_spec import ContainerSpec, PodSpec
from osm_healthcheck.reports.reports import event_lines
from osm_healthcheck.reports.table import _latest, _shortened

SPEC = PodSpec("Pod", "shop", (ContainerSpec("web"),))
MESSAGE = 'Readiness probe failed: Get "http://127.0.0.1:8080/healthz": context deadline exceeded'


def test_an_event_is_shown_whole() -> None:
    recorded = Recorded(Event("Warning", "Unhealthy", MESSAGE, "web"), 12, 0, 90)
    [line] = event_lines(SPEC, recorded, "5s", 90)
    narrow = event_lines(SPEC, recorded, "5s", 90, 80)
    assert narrow[0] == "  Warning  Unhealthy     5s (x12 over 90s)"
    assert all(len(one) <= 80 for one in narrow)
    assert " ".join(" ".join(narrow).split()) == " ".join(line.split())
    assert event_lines(SPEC, recorded, "5s", 90, len(line)) == [line]


def test_events_are_not_cut_in_two() -> None:
    events = [["first", "1"], ["second", "2"], ["third", "3"]]
    assert _latest(events, 5) == ["second", "2", "third", "3"]
    assert _latest(events, 1) == ["third", "3"]
    assert _latest([], 3) == []


def test_of_a_long_name_the_kind_of_probe_is_kept() -> None:
    assert _shortened("web readiness", 13) == "web readiness"
    assert _shortened("a-container-with-a-name liveness", 20) == "a-containe… liveness"
