"""`python -m tests.support.flood`: how long one tenant waits while another one has a thousand jobs in the queue.

One tenant queues its jobs at once. Another one submits one job at a time: the next when the last has ended. With
`--without-tenants` nothing tells the two apart, as in a deployment without authentication.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from unittest.mock import patch

from holdfast.shared.owner import Owner, complete_id
from holdfast.shared.queue import Queue, QueueEntry
from holdfast.worker import Run

from tests.support.redis_server import RedisServer
from tests.support.workers import Client, worker_on

AT_ONCE = 50  # submissions of the flood


class Wait(NamedTuple):
    """How long a job waited: slots that other jobs got before it, and ms until its start."""

    slots: int
    ms: float


class Flood:
    """A worker with `slots` slots, and two tenants whose jobs take `job_ms`, give or take a half."""

    def __init__(self, client: Client, job_ms: float, *, tenants: bool) -> None:
        self._client = client
        self._job_s = job_ms / 1000
        self._tenants = tenants
        self._draw = random.Random(7)
        self.taken: list[str] = []
        self.started = defaultdict[str, asyncio.Future[float]](asyncio.Future)

    @asynccontextmanager
    async def worker(self, redis_url: str, slots: int) -> AsyncIterator[None]:
        async def timed(run: Run) -> None:
            self.started[run.session_id].set_result(time.perf_counter())
            await asyncio.sleep(self._job_s * self._draw.uniform(0.5, 1.5))

        take = Queue.take

        async def noted(*arguments: Any) -> list[QueueEntry]:
            entries = await take(*arguments)
            self.taken += [entry.session_id for entry in entries]  # in the order in which the queue gives them away
            return entries

        with patch.object(Queue, "take", noted):
            async with worker_on(redis_url, [timed], max_jobs=slots):
                await self._client.offered("timed")
                yield

    def session(self, tenant: str, name: str) -> str:
        return complete_id(Owner(tenant) if self._tenants else None, f"{tenant}-{name}")

    async def pour(self, jobs: int) -> None:
        """Queue the jobs of the flood."""
        for first in range(0, jobs, AT_ONCE):
            sessions = [self.session("flood", str(number)) for number in range(first, min(first + AT_ONCE, jobs))]
            await asyncio.gather(*(self._client.post(session, agent="timed") for session in sessions))

    async def wait_of(self, name: str) -> Wait:
        """Submit a job of the other tenant. Returns how long it waited, once it has ended."""
        session = self.session("calm", name)
        await self._client.post(session, agent="timed")
        before, posted_s = len(self.taken), time.perf_counter()
        started_s = await self.started[session]
        await self._client.end(session)
        return Wait(max(self.taken.index(session) - before, 0), max(started_s - posted_s, 0) * 1000)


async def measure(redis_url: str, *, jobs: int, slots: int, job_ms: float, tenants: bool = True) -> list[Wait]:
    """Return the waits of the other tenant's jobs while the flood lasts."""
    client = Client(redis_url, queue_limit=jobs + 1000, tenant_queue_limit=jobs + 1000)
    flood, waits = Flood(client, job_ms, tenants=tenants), list[Wait]()
    try:
        async with flood.worker(redis_url, slots):
            await flood.pour(jobs)
            while len(flood.taken) - len(waits) < jobs:
                waits.append(await flood.wait_of(str(len(waits))))
            await client.empty()
    finally:
        await client.close()
    return waits


def print_waits(waits: list[Wait]) -> None:
    for unit, values in (("slots", [wait.slots for wait in waits]), ("ms", [wait.ms for wait in waits])):
        sys.stdout.write(f"wait in {unit}: median {median(values):.0f}, max {max(values):.0f}\n")


def main() -> None:
    """Run the flood and print what the other tenant saw of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1000, help="jobs of the flood (%(default)s)")
    parser.add_argument("--slots", type=int, default=10, help="slots of the worker (%(default)s)")
    parser.add_argument("--job-ms", type=float, default=200, help="how long a job takes on average (%(default)s)")
    parser.add_argument("--without-tenants", action="store_true", help="both are the same tenant")
    given: Any = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder))
        server.start()
        try:
            sizes = {"jobs": given.jobs, "slots": given.slots, "job_ms": given.job_ms}
            waits = asyncio.run(measure(server.url, **sizes, tenants=not given.without_tenants))
        finally:
            server.kill()
    sys.stdout.write(
        f"{given.jobs} jobs of {given.job_ms:g} ms on {given.slots} slots; jobs of the other tenant: {len(waits)}\n"
    )
    print_waits(waits)


if __name__ == "__main__":
    main()
