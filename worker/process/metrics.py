"""Serve a worker's Prometheus metrics. Labels are agent names, never ids, so that their cardinality is bounded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from holdfast.shared.errors import SettingsInvalid
from holdfast.shared.webhooks import refused_webhooks
from holdfast.worker.process.settings import WorkerSettings
from holdfast.worker.process.threads import thread_counts
from holdfast.worker.process.watchdog import blocked_loops
from holdfast.worker.webhooks.webhooks import outcomes
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


@contextmanager
def metrics_served(settings: WorkerSettings) -> Iterator[None]:
    """Serve the metrics of this process during the block, if the settings have a port. Raises SettingsInvalid."""
    if settings.metrics_port is None:
        yield
        return
    registry = CollectorRegistry()
    registry.register(_Collector())
    try:
        server, _ = start_http_server(settings.metrics_port, settings.metrics_host, registry)
    except OSError as error:
        address = f"{settings.metrics_host}:{settings.metrics_port}"
        raise SettingsInvalid(f"HOLDFAST_METRICS_HOST, HOLDFAST_METRICS_PORT: {address}: {error.strerror}") from None
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


class _Collector(Collector):
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
