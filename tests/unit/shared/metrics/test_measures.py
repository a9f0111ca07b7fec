"""Counters and histograms as plain numbers."""

from __future__ import annotations

import orjson
import pytest
from holdfast.shared.metrics.measures import MOST_VALUES, OTHER, Family, Measures
from prometheus_client import CollectorRegistry, generate_latest

JOBS = Family("jobs", "Jobs", ("agent",))
SECONDS = Family("seconds", "Seconds", ("agent",), (0.1, 1))


def new() -> Measures:
    return Measures([JOBS, SECONDS, Family("plain", "Plain"), Family("plain_seconds", "Plain", (), (1,))])


def shown(measures: Measures) -> list[str]:
    registry = CollectorRegistry()
    registry.register(measures)
    return [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]


def test_a_histogram_counts_each_value_in_its_bucket_and_all_larger_ones() -> None:
    measures = new()
    for value in (0.1, 0.5, 7):
        measures.observe("seconds", value, "a")
    assert [line for line in shown(measures) if line.startswith("seconds")] == [
        'seconds_bucket{agent="a",le="0.1"} 1.0',
        'seconds_bucket{agent="a",le="1.0"} 2.0',
        'seconds_bucket{agent="a",le="+Inf"} 3.0',
        'seconds_count{agent="a"} 3.0',
        'seconds_sum{agent="a"} 7.6',
    ]


def test_what_has_no_labels_is_there_before_it_is_counted() -> None:
    assert {"plain_total 0.0", 'plain_seconds_bucket{le="1.0"} 0.0'} <= set(shown(new()))


def test_labels_have_a_bounded_number_of_values() -> None:
    measures = new()
    for number in range(MOST_VALUES + 50):
        measures.add("jobs", f"agent-{number}")
        measures.observe("seconds", 1, f"agent-{number}")
    measures.add("jobs", "agent-0")
    found = [line for line in shown(measures) if line.startswith("jobs_total")]
    assert len(found) == MOST_VALUES + 1
    assert f'jobs_total{{agent="{OTHER}"}} 50.0' in found
    assert 'jobs_total{agent="agent-0"} 2.0' in found


def test_what_one_process_drains_another_one_adds_to_its_own() -> None:
    child, worker = new(), new()
    for measures in (child, worker):
        measures.add("jobs", "a", amount=2)
        measures.observe("seconds", 0.5, "a")
    worker.merge(orjson.loads(orjson.dumps(child.drain())))
    assert child.drain() == {"counts": [], "distributions": []}
    assert {'jobs_total{agent="a"} 4.0', 'seconds_count{agent="a"} 2.0', 'seconds_sum{agent="a"} 1.0'} <= set(
        shown(worker)
    )


def test_a_missing_label_is_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        new().add("jobs")
