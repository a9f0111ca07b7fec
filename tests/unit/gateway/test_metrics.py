"""The counts of the queue, as a gateway exposes them."""

from __future__ import annotations

from holdfast.gateway.metrics import Metrics
from holdfast.shared.metrics.measures import MOST_VALUES, OTHER
from holdfast.shared.queue_counts import JobCount, QueueCounts
from prometheus_client import generate_latest


def shown(metrics: Metrics, name: str) -> list[str]:
    lines = generate_latest(metrics.registry).decode().splitlines()
    return [line for line in lines if line.startswith(f"{name}{{")]


def test_agents_beyond_the_bound_are_counted_together() -> None:
    metrics = Metrics({})
    jobs = [JobCount("waiting", f"agent-{number}", 2, float(number)) for number in range(MOST_VALUES + 3)]
    metrics.set_queue(QueueCounts(1, jobs))
    assert f'holdfast_queue_jobs{{agent="{OTHER}",state="waiting"}} 6.0' in shown(metrics, "holdfast_queue_jobs")
    assert len(shown(metrics, "holdfast_queue_jobs")) == 4 * (MOST_VALUES + 1)
    oldest = f'holdfast_queue_oldest_wait_seconds{{agent="{OTHER}"}} {MOST_VALUES + 2}.0'
    assert oldest in shown(metrics, "holdfast_queue_oldest_wait_seconds")


def test_an_agent_whose_jobs_have_ended_has_none_in_every_state() -> None:
    metrics = Metrics({})
    metrics.set_queue(QueueCounts(1, [JobCount("waiting", "parrot", 1, 7.0)]))
    assert shown(metrics, "holdfast_queue_oldest_wait_seconds")[0].endswith(" 7.0")
    metrics.set_queue(QueueCounts(1, []))
    assert [line.rpartition(" ")[2] for line in shown(metrics, "holdfast_queue_jobs")] == ["0.0"] * 4
    assert shown(metrics, "holdfast_queue_oldest_wait_seconds")[0].endswith(" 0.0")
