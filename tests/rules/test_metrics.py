"""The text of /metrics, read by Prometheus' own library."""

import platform
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from osm_healthcheck import __version__
from osm_healthcheck.server.metrics import render
from osm_healthcheck.server.results import LATENCY_BUCKETS, OTHER, Tally, TargetResult

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
counts = st.dictionaries(st.sampled_from(TargetResult), st.integers(0, 2**40))


@st.composite
def tallies(draw: st.DrawFn) -> Tally:
    tally = Tally(draw(texts), ())
    tally.kinds, tally.containers = draw(texts), draw(texts)
    tally.counts = draw(counts)
    length = len(LATENCY_BUCKETS) + 1
    tally.buckets = draw(st.lists(st.integers(0, 2**40), min_size=length, max_size=length))
    tally.seconds = draw(st.floats(0, 1e9))
    tally.recent.append((0.0, draw(st.sampled_from(TargetResult)), 0.0, ""))
    return tally


def families(*tallies: Tally) -> dict[str, Metric]:
    page = render(
        tallies, connections=3, connections_refused=4, lines_lost=5, lines_left_out=6
    ).decode()
    return {family.name: family for family in text_string_to_metric_families(page)}


@given(tallies())
def test_every_tally_is_read_as_it_is(tally: Tally) -> None:
    found = families(tally)
    labels = {"target": tally.target, "kinds": tally.kinds, "containers": tally.containers}
    assert {
        TargetResult(sample.labels["result"]): sample.value
        for sample in found["osm_healthcheck_probes"].samples
        if {**labels, "result": sample.labels["result"]} == sample.labels
    } == tally.counts
    durations = found["osm_healthcheck_probe_duration_seconds"].samples
    assert [s.value for s in durations if s.name.endswith("_bucket")] == list(
        accumulate(tally.buckets)
    )
    bounds = [float(s.labels["le"]) for s in durations if "le" in s.labels]
    # dashboards ask for them
    milliseconds = [1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000]
    assert bounds == [ms / 1000 for ms in milliseconds] + [float("inf")]
    by_name = {s.name.rpartition("_")[2]: s.value for s in durations if s.labels == labels}
    assert by_name == {"count": sum(tally.buckets), "sum": tally.seconds}


def test_the_last_result_of_a_probe_is_1_or_0() -> None:
    for result in set(TargetResult) - {TargetResult.PASSED}:
        tally = Tally("tcp://:80", ())
        for one in (TargetResult.FAILURE, TargetResult.SUCCESS, result):
            tally.recent.append((0.0, one, 0.0, ""))
        (sample,) = families(tally)["osm_healthcheck_probe_success"].samples
        assert sample.value == (result is TargetResult.SUCCESS)


def test_what_was_passed_through_and_hooks_have_no_last_result() -> None:
    passed, hook = Tally("https://:443/", ()), Tally("hook http://:80/", ())
    passed.recent.append((0.0, TargetResult.PASSED, 0.0, ""))
    hook.recent.append((0.0, TargetResult.REFUSED, 0.0, ""))
    hook.kinds = "preStop"
    assert families(passed, hook)["osm_healthcheck_probe_success"].samples == []


def test_many_targets_together_have_no_last_result() -> None:
    assert families(Tally(OTHER, ()))["osm_healthcheck_probe_success"].samples == []


def test_the_process_has_its_metrics_before_any_probe() -> None:
    found = families()
    (build,) = found["osm_healthcheck_build_info"].samples
    assert build.labels["version"] == __version__
    python = build.labels["python_version"]  # 3.15.0 where Python says 3.15.0rc1
    assert platform.python_version().startswith(python)
    assert python.count(".") == 2
    assert build.value == 1
    assert {
        (sample.name, sample.labels.get("reason", "")): sample.value
        for name in ("connections_open", "connections_refused", "log_lines_dropped")
        for sample in found[f"osm_healthcheck_{name}"].samples
    } == {
        ("osm_healthcheck_connections_open", ""): 3,
        ("osm_healthcheck_connections_refused_total", ""): 4,
        ("osm_healthcheck_log_lines_dropped_total", "not_written"): 5,
        ("osm_healthcheck_log_lines_dropped_total", "rate_limit"): 6,
    }


def test_names_are_those_of_prometheus_guide() -> None:
    # prometheus.io/docs/practices/naming: one prefix, base units, _total for what only grows
    for family in families(Tally("tcp://:80", ())).values():
        assert family.name.startswith("osm_healthcheck_")
        assert family.documentation.endswith(".")
        assert family.type in ("counter", "gauge", "histogram")
        assert not family.name.endswith(("_total", "_ms", "_count", "_sum"))


def test_what_is_no_utf_8_does_not_break_the_page() -> None:
    assert "osm_healthcheck_build_info" in families(Tally("http://:80/\ud800", ()))
