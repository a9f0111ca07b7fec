"""Prometheus metrics. Labels have route templates instead of ids, so that the number of series is bounded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import cache

from holdfast.gateway.errors import METHODS
from holdfast.gateway.stream.counters import Counters
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
        self._series = cache(self._labelled)  # looking up labels takes checks and a lock

    def count(self, scope: Scope, status: int, seconds: float) -> None:
        """Count a response when it starts, and observe the time until then."""
        route = getattr(scope.get("route"), "path", "none") if status not in (404, 405) else "none"
        method = scope["method"] if scope["method"] in METHODS else "other"
        requests, latency = self._series(method, route, status)
        requests.inc()
        latency.observe(seconds)

    def _labelled(self, method: str, route: str, status: int) -> tuple[Counter, Histogram]:
        return self.requests.labels(method, route, str(status)), self.latency.labels(route)

    def watch(self, counters: Counters) -> None:
        """Expose the stream counters of this process."""
        self.registry.register(_StreamCollector(counters))


class _StreamCollector(Collector):
    """Reads the hub's plain integers at each scrape, so that streams count without locks."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def collect(self) -> Iterator[Metric]:
        for field in fields(self._counters):
            name, meaning, value = field.name, field.metadata["meaning"], getattr(self._counters, field.name)
            if name == "viewers":
                yield GaugeMetricFamily("holdfast_viewers", meaning, value)
            else:
                yield CounterMetricFamily(f"holdfast_stream_{name}", meaning, value)


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
