"""A worker's Prometheus metrics. Labels are agent names, never ids, so that their cardinality is bounded."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import product

from holdfast.shared.metrics.measures import OTHER, BoundedValues
from holdfast.shared.queue import ANY_LANE
from holdfast.shared.webhooks import refused_webhooks
from holdfast.worker.process.deliveries import Deliveries
from holdfast.worker.process.lease import Lease
from holdfast.worker.process.measures import measures
from holdfast.worker.process.threads import thread_counts
from holdfast.worker.process.watchdog import blocked_loops
from holdfast.worker.webhooks.webhooks import outcomes
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

STATES = ("running", "asking")


def worker_registry(deliveries: Deliveries, lease: Lease, slots: Callable[[], int]) -> CollectorRegistry:
    """Return a registry with the metrics of this process and of its worker. `slots`: how many jobs it may run now."""
    registry = CollectorRegistry()
    for collector in (measures, _ProcessCollector(), _WorkerCollector(deliveries, lease, slots)):
        registry.register(collector)
    return registry


class _WorkerCollector(Collector):
    """Reads the state of a worker at each scrape."""

    def __init__(self, deliveries: Deliveries, lease: Lease, slots: Callable[[], int]) -> None:
        self._deliveries = deliveries
        self._lease = lease
        self._slots = slots
        self._agents = BoundedValues()

    def collect(self) -> Iterator[Metric]:
        jobs = GaugeMetricFamily("holdfast_worker_jobs", "Jobs of this worker", labels=["state", "agent"])
        counts: Counter[tuple[str, str]] = Counter()
        for (state, agent), count in self._deliveries.by_state().items():
            counts[state, OTHER if agent == ANY_LANE else self._agents.bounded(agent)] += count
        for labels in product(STATES, {*self._agents.known, *(agent for _, agent in counts)}):
            jobs.add_metric(labels, counts[labels])
        age_s = time.monotonic() - self._lease.beat_at_s
        yield from (
            jobs,
            GaugeMetricFamily("holdfast_worker_slots", "Jobs that this worker may run; 0 once it stops", self._slots()),
            GaugeMetricFamily("holdfast_worker_heartbeat_age_seconds", "Since the last acknowledged heartbeat", age_s),
        )


class _ProcessCollector(Collector):
    """Reads the counters of this process at each scrape."""

    def collect(self) -> Iterator[Metric]:
        running = GaugeMetricFamily("holdfast_job_threads_running", _RUNNING, labels=["agent"])
        abandoned = GaugeMetricFamily("holdfast_job_threads_abandoned", _ABANDONED, labels=["agent"])
        for agent, threads in thread_counts().items():
            running.add_metric([agent], threads.running - threads.abandoned)
            abandoned.add_metric([agent], threads.abandoned)
        blocked = CounterMetricFamily("holdfast_event_loop_blocks", _BLOCKED, labels=["agent"])
        for agent, times in blocked_loops().items():
            blocked.add_metric([agent], times)
        webhooks = CounterMetricFamily("holdfast_webhook_tries", _WEBHOOKS, labels=["outcome"])
        for outcome, count in outcomes.items():
            webhooks.add_metric([outcome], count)
        refused = CounterMetricFamily("holdfast_webhooks_refused", _REFUSED, labels=["event"])
        for event, count in refused_webhooks.counts.items():
            refused.add_metric([event], count)
        yield from (running, abandoned, blocked, webhooks, refused)


_RUNNING = "Threads in which steps, tools and synchronous agents of jobs run"
_WEBHOOKS = "Tries to deliver a webhook; given_up also counts as failed or refused"
_REFUSED = "Webhooks that were not created, since their tenant has too many"
_ABANDONED = "Threads whose job or step has ended and that have not returned"
_BLOCKED = "Times that the event loop stood still for a second; without a name where it is not known which agent did"
