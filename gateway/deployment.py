"""The deployment as its operators see it: its workers and its queue. What is counted is kept for a moment, so that many
open consoles cost as much as one."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import NamedTuple

from holdfast.shared.queue_counts import JobCount, QueueCounter, TenantCount
from holdfast.shared.workers import Status, WorkerList

FRESH_SECONDS = 0.5


class Counts(NamedTuple):
    """The queue at one moment. `workers`: how many are registered. `counted_at`: in ms since 1970."""

    jobs: list[JobCount]
    tenants: list[TenantCount]
    workers: int
    statuses: list[Status]
    counted_at: int

    def in_state(self) -> Counter[str]:
        """Count the jobs by state."""
        states: Counter[str] = Counter()
        for count in self.jobs:
            states[count.state] += count.jobs
        return states

    @property
    def oldest_wait_s(self) -> float | None:
        """Of all waiting jobs, by the time since they became visible."""
        return max((count.oldest_wait_s for count in self.jobs if count.oldest_wait_s is not None), default=None)


class Deployment:
    """Reads the state of the deployment from the queue server."""

    def __init__(self, workers: WorkerList, counter: QueueCounter) -> None:
        self.workers = workers
        self._counter = counter
        self._counting = asyncio.Lock()
        self._counted: Counts | None = None
        self._counted_s = float("-inf")

    async def counts(self) -> Counts:
        """Return counts that are at most FRESH_SECONDS old. Raises RedisError."""
        async with self._counting:
            if self._counted is None or time.monotonic() - self._counted_s > FRESH_SECONDS:
                self._counted = await self._count()
                self._counted_s = time.monotonic()
            return self._counted

    async def _count(self) -> Counts:
        queue, tenants, statuses = await asyncio.gather(
            self._counter.count(), self._counter.tenants(), self.workers.statuses()
        )
        return Counts(queue.jobs, tenants, queue.workers, statuses, int(time.time() * 1000))
