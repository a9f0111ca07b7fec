"""The leases of workers on queue entries, and the heartbeats that keep them."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.shared import keys
from holdfast.shared.queue import PLACES, QueueEntry, payload_of
from holdfast.shared.redis.blocking import connect_blocking
from holdfast.shared.redis.client import Redis
from holdfast.shared.scripts import queue_script
from holdfast.shared.settings import CommonSettings

RECOUNT_US = 300_000_000


class Leases:
    """The leases of all workers. Every call raises RedisError when the queue server does not answer, and may then be
    repeated."""

    def __init__(self, redis: Redis, settings: CommonSettings) -> None:
        self._redis = redis
        self._settings = settings
        self._beat = queue_script(redis, "beat")
        self._retake = queue_script(redis, "retake")
        self._take_over = queue_script(redis, "take_over")
        self._sweep = queue_script(redis, "sweep")
        self._recount = queue_script(redis, "recount")

    async def beat(self, worker_id: str, status: bytes = b"{}") -> set[str]:
        """Increment the worker's heartbeat counter, and store its status, see shared/workers.py.

        Returns the ids of the entries that it leases."""
        return {name.decode() for name in await self._beat(PLACES, (worker_id, status))}

    async def retake(self, worker_id: str, entries: Sequence[QueueEntry]) -> set[str]:
        """Lease entries again whose lease the queue lost. Returns the ids of those that another worker leases."""
        flat = [part for entry in entries for part in (entry.id, payload_of(entry))]
        return {name.decode() for name in await self._retake(PLACES, (worker_id, *flat))}

    async def workers(self) -> dict[str, int]:
        """Return the heartbeat counter of each worker."""
        counts = await self._redis.hgetall(keys.WORKERS)
        return {name.decode(): int(count) for name, count in counts.items()}

    async def take_over(self, worker_id: str, count: int, *, guess_s: float = 0) -> int | None:
        """Make the entries of a dead worker visible again. Returns how many; None where its counter has moved.

        `guess_s`: for so long the worker may turn out to be alive, see `Queue.guess`."""
        moved = int(await self._take_over(PLACES, (worker_id, count, int(guess_s * 1000))))
        return None if moved < 0 else moved

    async def sweep(self) -> None:
        """Let any worker end the jobs that waited too long, even if no worker offers their agent."""
        await self._sweep(PLACES, (self._settings.queue_seconds * 1_000_000,))

    async def recount(self) -> int:
        """Count the jobs of all tenants anew, at most once in RECOUNT_US for all workers. Returns how many counts were
        wrong."""
        return int(await self._recount(PLACES, (RECOUNT_US,)))

    async def leave(self, worker_id: str) -> None:
        """Unregister a worker. Entries that it still leases become visible again."""
        counts = await self.workers()
        if worker_id in counts:
            await self.take_over(worker_id, counts[worker_id])


def beat_blocking(url: str, worker_id: str, timeout_s: float) -> None:
    """Increment a worker's heartbeat counter, from a thread while its event loop is blocked, and wait for the reply.

    Connects anew each time, since it is rarely needed. Raises OSError or redis.RedisError."""
    with connect_blocking(url, timeout_s) as client:
        client.hincrby(keys.WORKERS, worker_id, 1)
