"""Metrics that every process has: its version and resources, the delay of its event loop, and the latency of Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from functools import partial
from importlib.metadata import version

from holdfast.shared.background import repeat
from holdfast.shared.metrics.measures import CALLS, Family, Measures
from holdfast.shared.redis.client import Redis
from holdfast.shared.redis.errors import RedisError
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

PING_SECONDS = 5.0
PING_DEADLINE_SECONDS = 2.0
TICK_SECONDS = 0.5

PING = "holdfast_redis_ping_seconds"
LAG = "holdfast_event_loop_lag_seconds"
FAMILIES = (
    Family(PING, "Duration of a PING, each 5 s", ("server",), CALLS),
    Family(LAG, "How late a timer of the event loop is, each 0.5 s", (), CALLS),
)


class Vitals(Collector):
    """Measures one process while `run` runs. `servers`: the client of each Redis server, by its name.

    `up`: whether each server answered the last PING. `ticked_s`: when the event loop last ran, by the monotonic
    clock."""

    def __init__(self, process: str, servers: Mapping[str, Redis], registry: CollectorRegistry) -> None:
        self._process = process
        self._servers = servers
        self.up: dict[str, bool] = {}
        self.ticked_s = time.monotonic()
        self._measures = Measures(FAMILIES)
        for collector in (self, self._measures):
            registry.register(collector)
        ProcessCollector(registry=registry)

    async def run(self) -> None:
        """Measure until cancelled."""
        pings = (repeat(f"ping {name}", partial(self._ping, name)) for name in self._servers)
        await asyncio.gather(repeat("event loop lag", self._tick), *pings)

    async def _tick(self) -> float:
        loop = asyncio.get_running_loop()
        due = loop.time() + TICK_SECONDS
        await asyncio.sleep(TICK_SECONDS)
        self._measures.observe(LAG, max(loop.time() - due, 0))
        self.ticked_s = time.monotonic()
        return 0

    async def _ping(self, name: str) -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(PING_DEADLINE_SECONDS):
                await self._servers[name].call("PING")
        except (RedisError, TimeoutError):
            self.up[name] = False
        else:
            self.up[name] = True
            self._measures.observe(PING, loop.time() - began, name)
        return PING_SECONDS

    def collect(self) -> Iterator[Metric]:
        info = GaugeMetricFamily("holdfast_process_info", "1 for each process", labels=["process", "version"])
        info.add_metric([self._process, version("holdfast-gateway")], 1)
        up = GaugeMetricFamily("holdfast_redis_up", "1 if the last PING was answered", labels=["server"])
        for name, answered in dict(self.up).items():
            up.add_metric([name], answered)
        yield from (info, up)
