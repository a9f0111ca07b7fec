"""`python -m bench.eleventh_worker`: ten workers with 10 slots are busy, an eleventh with 20 is idle, 20 jobs arrive.

Holdfast starts them at once. Stock arq starts none, because it looks at the first 100 jobs of its queue, and keeps
running ones among them. Exits 0 when both are so.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from bench.deployments import Deployment, Holdfast, StockArq
from bench.ledger import InvalidRun
from bench.machine import Cores
from bench.peers.redis import RedisServer
from bench.peers.stage import Stage
from bench.plan import Plan

WORKERS, JOBS_EACH, WAITING = 10, 10, 20
WINDOW_S = 12.0
FILL_S = 60.0
FOREVER = (100_000, 1000.0)  # tokens, and ms between two


@dataclass(frozen=True, slots=True)
class Started:
    """The number of waiting jobs that started within the window, and the time until the last of them did."""

    name: str
    jobs: int
    last_s: float


def measure(make: Callable[[Stage, RedisServer], Deployment]) -> Started:
    plan = Plan(quick=False, repeats=1, cores=Cores(None, None))
    with plan.stage(0) as stage:
        redis = stage.redis()
        return asyncio.run(_measure(make(stage, redis), redis))


def holdfast() -> Started:
    return measure(Holdfast)


def stock_arq() -> Started:
    return measure(StockArq)


async def _measure(deployment: Deployment, redis: RedisServer) -> Started:
    busy = [f"busy-{number}" for number in range(WORKERS * JOBS_EACH)]
    waiting = [f"waiting-{number}" for number in range(WAITING)]
    for _ in range(WORKERS):
        deployment.worker(JOBS_EACH)
    await deployment.ready()
    await asyncio.gather(*(deployment.submit(session, *FOREVER) for session in busy))
    if await _begun(redis, [deployment.log(session) for session in busy], FILL_S) != len(busy):
        raise InvalidRun("the ten workers did not start their hundred jobs")
    idle = deployment.worker(WAITING)
    await idle.until_output("tarting worker", "worker started")
    began = time.monotonic()
    await asyncio.gather(*(deployment.submit(session, *FOREVER) for session in waiting))
    jobs = await _begun(redis, [deployment.log(session) for session in waiting], WINDOW_S)
    return Started(deployment.name, jobs, time.monotonic() - began)


async def _begun(redis: RedisServer, keys: list[str], timeout_s: float) -> int:
    """Wait until all keys exist, up to a timeout. Returns how many do."""
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            while redis.exist(keys) < len(keys):  # noqa: ASYNC110 - another process makes them
                await asyncio.sleep(0.02)
    return redis.exist(keys)


def main() -> int:
    results = [holdfast(), stock_arq()]
    for result in results:
        print(f"{result.name}: {result.jobs} of {WAITING} waiting jobs started within {result.last_s:.2f} s")
    return 0 if results[0].jobs == WAITING and results[1].jobs == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
