"""Prometheus metrics. Labels have route templates instead of ids, so that the number of series is bounded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import cache

from holdfast.gateway.errors import METHODS
from holdfast.gateway.stream.counters import Counters
from holdfast.shared.metrics.measures import OTHER, BoundedValues
from holdfast.shared.queue_counts import QueueCounts
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import Scope

disable_created_metrics()  # type: ignore[no-untyped-call]  # they would double the number of series


class Metrics:
    """The metrics of one app, in its own registry, so that two apps in one process do not collide.

    `refusals`: the number of requests refused before the app, by code."""

    def __init__(self, refusals: Mapping[str, int]) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "holdfast_http_requests", "HTTP responses", ["method", "route", "status"], registry=self.registry
        )
        self.latency = Histogram(
            "holdfast_http_first_byte_seconds",
            "Seconds from request to response start",
            ["route"],
            registry=self.registry,
        )
        self.accepted = Counter(
            "holdfast_jobs_accepted", "Jobs accepted with 202", ["replayed"], registry=self.registry
        )
        self.queue_depth = Gauge("holdfast_queue_depth", "Open jobs", registry=self.registry)
        self.queue_up = Gauge("holdfast_queue_up", "1 if the queue server is available, else 0", registry=self.registry)
        self.registry.register(_RefusalCollector(refusals))
        self._queue = _QueueCollector()
        self.registry.register(self._queue)
        self._series = cache(self._labelled)  # looking up labels takes checks and a lock

    def count(self, scope: Scope, status: int, seconds: float) -> None:
        """Count a response when it starts, and observe the time until then."""
        route = getattr(scope.get("route"), "path", "none") if status not in (404, 405) else "none"
        method = scope["method"] if scope["method"] in METHODS else OTHER
        requests, latency = self._series(method, route, status)
        requests.inc()
        latency.observe(seconds)

    def _labelled(self, method: str, route: str, status: int) -> tuple[Counter, Histogram]:
        return self.requests.labels(method, route, str(status)), self.latency.labels(route)

    def watch(self, counters: Counters) -> None:
        """Expose the stream counters of this process."""
        self.registry.register(_StreamCollector(counters))
        self.registry.register(counters.lag)

    def set_queue(self, counts: QueueCounts) -> None:
        """Expose what the queue server has counted."""
        self._queue.counts = counts


class _StreamCollector(Collector):
    """Reads the hub's plain integers at each scrape, so that streams count without locks."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def collect(self) -> Iterator[Metric]:
        for field in fields(self._counters):
            if "meaning" not in field.metadata:
                continue
            name, meaning, value = field.name, field.metadata["meaning"], getattr(self._counters, field.name)
            if name == "viewers":
                yield GaugeMetricFamily("holdfast_viewers", meaning, value)
            else:
                yield CounterMetricFamily(f"holdfast_stream_{name}", meaning, value)


class _QueueCollector(Collector):
    """Exposes the newest counts of the queue. Agents beyond the bound of a label are counted as one."""

    def __init__(self) -> None:
        self.counts: QueueCounts | None = None
        self._agents = BoundedValues()

    def collect(self) -> Iterator[Metric]:
        jobs = GaugeMetricFamily("holdfast_queue_jobs", _JOBS, labels=["state", "agent"])
        waits = GaugeMetricFamily("holdfast_queue_oldest_wait_seconds", _WAIT, labels=["agent"])
        workers = GaugeMetricFamily("holdfast_queue_workers", "Registered workers")
        if self.counts is not None:
            workers.add_metric([], self.counts.workers)
            found, longest = self._by_agent(self.counts)
            for labels, number in found.items():
                jobs.add_metric(labels, number)
            for agent, wait_s in longest.items():
                waits.add_metric([agent], wait_s)
        yield from (jobs, waits, workers)

    def _by_agent(self, counts: QueueCounts) -> tuple[dict[tuple[str, str], int], dict[str, float]]:
        """Return the jobs by state and agent, and the longest wait by agent; 0 for known agents without jobs."""
        agents = {each.agent: self._agents.bounded(each.agent) for each in counts.jobs}
        found = {(state, agent): 0 for state in STATES for agent in (*self._agents.known, *agents.values())}
        longest = dict.fromkeys((*self._agents.known, *agents.values()), 0.0)
        for each in counts.jobs:
            agent = agents[each.agent]
            found[each.state, agent] += each.jobs
            longest[agent] = max(longest[agent], each.oldest_wait_s or 0)
        return found, longest


STATES = ("waiting", "running", "asking", "deferred")
_JOBS = "Jobs that have not ended: waiting for a worker, running, asking a person, or deferred"
_WAIT = "How long the oldest waiting job has been visible"


class _RefusalCollector(Collector):
    """Reads the server's counts of refusals at each scrape. Codes are those of error classes, so bounded in number."""

    def __init__(self, refusals: Mapping[str, int]) -> None:
        self._refusals = refusals

    def collect(self) -> Iterator[Metric]:
        meaning = "Requests refused before routing because of their head, framing or timing"
        family = CounterMetricFamily("holdfast_http_refusals", meaning, labels=["code"])
        for code, count in self._refusals.items():
            family.add_metric([code], count)
        yield family
