"""How many jobs of each agent wait, run, ask and are deferred, as the queue server knows it."""

from __future__ import annotations

from typing import NamedTuple

from holdfast.shared import keys
from holdfast.shared.queue import PLACES
from holdfast.shared.redis.client import Redis
from holdfast.shared.scripts import queue_script


class JobCount(NamedTuple):
    """The jobs of one agent in one state: `waiting`, `running`, `asking` or `deferred`.

    `oldest_wait_s`: how long the oldest waiting one has been visible; None for the other states."""

    state: str
    agent: str
    jobs: int
    oldest_wait_s: float | None


class QueueCounts(NamedTuple):
    """The counts of the whole deployment. `workers`: how many are registered."""

    workers: int
    jobs: list[JobCount]


class TenantCount(NamedTuple):
    """The jobs of a tenant that have not ended, and those of them that take a slot."""

    tenant: str
    open: int
    running: int


class QueueCounter:
    """Counts the jobs of a queue, in one script: 1 ms for 1,000 jobs that run or are deferred."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._count = queue_script(redis, "count_jobs")

    async def count(self) -> QueueCounts:
        """Count all jobs. Raises RedisError."""
        workers, *found = await self._count(PLACES)
        return QueueCounts(int(workers), [_count_of(*each) for each in found])

    async def tenants(self) -> list[TenantCount]:
        """Count the jobs of each tenant that has any, by its name. Raises RedisError."""
        counts: dict[str, dict[str, int]] = {}
        for field, number in (await self._redis.hgetall(keys.TENANT + "counts")).items():
            state, counted, tenant = field.decode().partition(":")
            if counted:
                counts.setdefault(tenant, {})[state] = int(number)
        return [TenantCount(tenant, of.get("open", 0), of.get("running", 0)) for tenant, of in sorted(counts.items())]


def _count_of(state: bytes, agent: bytes, jobs: int, oldest_wait_us: int) -> JobCount:
    wait_s = None if oldest_wait_us < 0 else oldest_wait_us / 1_000_000
    return JobCount(state.decode(), agent.decode(), int(jobs), wait_s)
