"""Follow one job in metrics, spans and log lines, as docs/operations.md shows it.

    scripts/follow-job

starts Redis, a gateway, a worker, a provider and a collector, posts a chat with a webhook, and prints what it changed.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.collector import SpanSeen
from tests.support.observed import Samples, observed
from tests.support.process import Processes
from tests.support.receiver import receiver
from tests.support.redis_server import RedisServer

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
STEPS = ("submit job", "wait in queue", "run attempt", "request model", "send webhook")
HEADERS = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "X-Request-Id": "req-1"}
# What goes on without a job, and what only repeats another metric in buckets.
_BESIDE = ("_bucket", "process_", "holdfast_redis_ping", "holdfast_event_loop_lag", "holdfast_worker_heartbeat")
_GAUGES = ("holdfast_queue_depth", "holdfast_queue_jobs", "holdfast_queue_oldest", "holdfast_viewers")
_POLLED = frozenset({"/readyz", "/v1/agents", "/metrics"})
_OMITTED = ("level", "process")


@dataclass(frozen=True)
class Followed:
    """What one job changed: counters, spans and log lines, each in the order of the path of the job."""

    metrics: dict[str, float]
    spans: list[SpanSeen]
    lines: list[dict[str, Any]]

    def text(self) -> Iterator[str]:
        """Yield the lines that are printed."""
        yield "# metrics: what the job added"
        for name, added in self.metrics.items():
            yield f"{name} {added:.4g}"
        yield ""
        yield "# spans"
        began_ns = min(span.began_ns for span in self.spans)
        for span in self.spans:
            at, took = (span.began_ns - began_ns) / 1e6, (span.ended_ns - span.began_ns) / 1e6
            below = f"below {span.parent}" if span.parent else "first"
            yield f"{at:7.1f} ms {span.name:<14} {took:6.1f} ms  {span.span_id} {below}  {span.service}"
        yield ""
        yield "# log lines"
        for line in self.lines:
            yield json.dumps({name: value for name, value in line.items() if name not in _OMITTED})


async def follow(processes: Processes, redis_url: str) -> Followed:
    """Run one job, and return what it changed."""
    async with observed(processes, redis_url) as stack, receiver() as hooks:
        before = await stack.samples()
        job = await stack.post("tides", "kelp", headers=HEADERS, webhook=hooks.hook)
        async with stack.client.stream("GET", f"/v1/sessions/tides/jobs/{job}/events") as stream:
            async for _ in stream.aiter_bytes():
                pass
        await stack.collector.got(submit_job=1, wait_in_queue=1, run_attempt=1, request_model=1, send_webhook=1)
        await stack.counted("holdfast_webhook_tries_total", outcome="delivered")
        after = await stack.samples()
        spans = sorted(stack.collector.spans, key=lambda span: STEPS.index(span.name))
        return Followed(added(before, after), spans, stack.lines(job))


def added(before: Samples, after: Samples) -> dict[str, float]:
    """Return by how much each counter rose, by its name and labels as Prometheus writes them."""
    found: dict[str, float] = {}
    for (name, labels), value in sorted(after.items(), key=lambda item: (item[0][0], sorted(item[0][1]))):
        rose = value - before.get((name, labels), 0)
        beside = any(part in name for part in _BESIDE) or name.startswith(_GAUGES)
        if rose and not beside and _POLLED.isdisjoint(each for _, each in labels):
            shown = ",".join(f'{label}="{each}"' for label, each in sorted(labels))
            found[f"{name}{{{shown}}}" if shown else name] = rose
    return found


async def main() -> None:
    """Follow a job on servers of its own."""
    with tempfile.TemporaryDirectory() as folder:
        server, processes = RedisServer(Path(folder)), Processes(Path(folder))
        server.start()
        try:
            for line in (await follow(processes, server.url)).text():
                print(line)  # noqa: T201 - this is what it is for
        finally:
            processes.kill()
            server.kill()


if __name__ == "__main__":
    asyncio.run(main())
