"""Change a queue entry that this worker leases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from holdfast.shared.errors import RedisRefused
from holdfast.shared.failpoints import failpoint
from holdfast.shared.log.log_replies import Head
from holdfast.shared.queue import ANY_LANE, Queue, QueueEntry
from holdfast.worker.process.outage import Outage


class LeasedEntry:
    """An entry that this worker leases. Each call is repeated until the queue answers.

    Raises RedisRefused where it refuses permanently."""

    def __init__(self, entry: QueueEntry, worker_id: str, queue: Queue, outage: Outage) -> None:
        self._entry = entry
        self._worker_id = worker_id
        self._queue = queue
        self._outage = outage

    async def close(self, head: Head | None) -> None:
        """Drop the entry of a job that has ended, after making the entry of the next one visible."""
        failpoint("after_finish_before_next_head")
        await self.make_ready(head)
        failpoint("after_next_head_before_drop")
        await self.drop()

    async def make_ready(self, head: Head | None) -> None:
        """Make the entry of the next job of the backlog visible."""
        if head is not None and head.job_id != self._entry.job_id:
            await self._retry(partial(self._queue.make_ready, self._entry.session_id, head.job_id, head.agent))

    async def drop(self) -> None:
        await self._retry(partial(self._queue.drop, self._worker_id, self._entry))

    async def put_back(self, delay_s: float, *, delivery: int) -> None:
        """Put the entry back. Where the queue lost it, it is created again, so that the job keeps an entry."""
        entry = self._entry
        given = partial(self._queue.put_back, self._worker_id, entry, delivery=delivery, delay_s=delay_s)
        if not await self._retry(given) and entry.job_id is not None and entry.agent != ANY_LANE:
            await self._retry(partial(self._queue.make_ready, entry.session_id, entry.job_id, entry.agent))

    async def retire(self, job_ids: Sequence[str]) -> None:
        """Drop the entries of jobs that are about to end while they wait. Where the queue refuses permanently, their
        next delivery drops them."""
        with suppress(RedisRefused):
            await self._retry(partial(self._queue.retire, self._entry.session_id, job_ids))

    async def _retry(self, call: Callable[[], Any]) -> Any:
        return await self._outage.retry_until_available(call)
