"""What the operators of a gateway read: its readiness and its metrics, on the main port or on one of their own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from holdfast.gateway.metrics import Metrics
from holdfast.gateway.readiness import Readiness
from holdfast.gateway.settings import GatewaySettings
from holdfast.gateway.stream.hub import StreamHub
from holdfast.shared.metrics.listener import Page, Pages, health_page, listening, metrics_page
from holdfast.shared.queue import Queue
from holdfast.shared.queue_counts import QueueCounter
from holdfast.shared.redis.errors import RedisError

SCRAPE_DEADLINE_S = 2.0
COUNT_SECONDS = 5.0  # the counts of the queue are at most so old
LOOP_DEADLINE_S = 5.0  # a scrape waits so long for the event loop


class Operation:
    """The readiness and the metrics of one gateway process."""

    def __init__(
        self, readiness: Readiness, hub: StreamHub, metrics: Metrics, queue: Queue, counter: QueueCounter
    ) -> None:
        self._readiness = readiness
        self._hub = hub
        self._metrics = metrics
        self._queue = queue
        self._counter = counter
        self._counted_s = float("-inf")

    async def reasons(self) -> list[str]:
        """Return why the gateway is not ready; empty if it is."""
        reasons = await self._readiness.reasons()
        return ["the gateway is stopping"] if self._hub.draining else reasons

    async def metrics(self) -> Page:
        """Return the metrics. Those of the queue stay unchanged while its server is unavailable."""
        try:
            async with asyncio.timeout(SCRAPE_DEADLINE_S):
                await self._count_queue()
            self._metrics.queue_up.set(1)
        except (RedisError, TimeoutError):
            self._metrics.queue_up.set(0)
        return metrics_page(self._metrics.registry)

    async def _count_queue(self) -> None:
        """Raises RedisError."""
        depth, now_s = await self._queue.depth(), time.monotonic()
        self._metrics.queue_depth.set(depth)
        if now_s - self._counted_s >= COUNT_SECONDS:
            self._metrics.set_queue(await self._counter.count())
            self._counted_s = now_s

    def listening(self, settings: GatewaySettings) -> AbstractContextManager[None]:
        """Serve them on the port for metrics during the block, if the settings have one. Raises SettingsInvalid."""
        if settings.metrics_port is None:
            return nullcontext()
        return listening(settings.metrics_host, settings.metrics_port, self._pages())

    def _pages(self) -> Pages:
        loop = asyncio.get_running_loop()

        def on_loop(call: Callable[[], Awaitable[Page]], failed: Callable[[], Page]) -> Callable[[], Page]:
            def page() -> Page:
                future = asyncio.run_coroutine_threadsafe(_awaited(call), loop)
                try:
                    return future.result(LOOP_DEADLINE_S)
                except TimeoutError:
                    future.cancel()
                    return failed()

            return page

        async def readiness() -> Page:
            return health_page("ready", await self.reasons())

        async def liveness() -> Page:
            return health_page("alive", [])

        blocked = partial(health_page, "alive", ["the event loop is blocked"])
        return {
            "/livez": on_loop(liveness, blocked),
            "/readyz": on_loop(readiness, blocked),
            "/metrics": on_loop(self.metrics, partial(metrics_page, self._metrics.registry)),
        }


async def _awaited(call: Callable[[], Awaitable[Page]]) -> Page:
    return await call()
