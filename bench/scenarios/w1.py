"""W1: one worker process with many jobs that stream at the pace of a language model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.deployments import Deployment, Holdfast, StockArq
from bench.figures import quantile
from bench.ledger import InvalidRun
from bench.peers.redis import RedisServer
from bench.peers.stage import Stage
from bench.plan import Plan
from bench.processes import Child
from bench.report import Column, Row, Table

TOKENS_S = 20
PROBES = 10
FILL_S = 60.0
DRAIN_S = 240.0  # a worker that does not keep up ends the probes late
POSTS = 32  # at a time
COLUMNS = (
    Column("tokens_s", "tokens/s"),
    Column("tokens_core_s", "tokens a worker CPU s", against=True),
    Column("redis_us", "Redis CPU µs a token", against=True),
    Column("commands", "commands a token", against=True),
    Column("bytes_in", "bytes to Redis a token"),
    Column("bytes_out", "from"),
    Column("bytes_kept", "kept"),
    Column("append_p50_ms", "append p50 ms"),
    Column("append_p99_ms", "p99 ms"),
)


@dataclass(frozen=True, slots=True)
class Counts:
    """What was used up to one moment."""

    at: float
    entries: int
    worker_s: float
    redis_s: float
    commands: int
    bytes_in: int
    bytes_out: int
    memory: int


def run(plan: Plan) -> Table:
    jobs = int(plan.choose(1000, 50))
    title = f"one worker, {jobs:,} jobs × {TOKENS_S} tokens/s"
    method = (
        f"In the steady state of all jobs, nobody watching. {PROBES} jobs more time the append of each of their "
        "tokens, from emitting it to the server's answer. Commands include those that scripts run inside the server."
    )
    kinds: tuple[tuple[str, Callable[[Stage, RedisServer], Deployment]], ...] = (
        ("Holdfast", Holdfast),
        ("stock arq, one XADD a token", StockArq),
    )
    rows = [Row(name) for name, _ in kinds]
    for _ in range(plan.repeats):
        for row, (_, make) in zip(rows, kinds, strict=True):
            row.runs.append(_once(plan, make, jobs))
    return Table("W1", title, method, COLUMNS, rows)


def _once(plan: Plan, make: Callable[[Stage, RedisServer], Deployment], jobs: int) -> dict[str, float]:
    with plan.stage(0) as stage:
        redis = stage.redis()
        deployment = make(stage, redis)
        worker = deployment.worker(jobs + PROBES)
        return asyncio.run(_steady(deployment, redis, worker, jobs, plan.choose(10, 2)))


async def _steady(
    deployment: Deployment, redis: RedisServer, worker: Child, jobs: int, seconds: float
) -> dict[str, float]:
    await deployment.ready()
    sessions = [f"job-{number}" for number in range(jobs)]
    logs = [deployment.log(session) for session in sessions]
    tokens = int(TOKENS_S * (FILL_S + seconds + 30))
    await _submit(deployment, sessions, tokens)
    await _until_all_run(redis, logs)
    probes = [f"probe-{number}" for number in range(PROBES)]
    for probe in probes:
        await deployment.submit(probe, int(TOKENS_S * seconds), 1000 / TOKENS_S, probe=True)
    before = _count(redis, worker, logs)
    await asyncio.sleep(seconds)
    after = _count(redis, worker, logs)
    return _figures(before, after) | await _appends(deployment, probes)


async def _submit(deployment: Deployment, sessions: Sequence[str], tokens: int) -> None:
    gate = asyncio.Semaphore(POSTS)

    async def submit(session: str) -> None:
        async with gate:
            await deployment.submit(session, tokens, 1000 / TOKENS_S)

    await asyncio.gather(*(submit(session) for session in sessions))


async def _until_all_run(redis: RedisServer, logs: Sequence[str]) -> None:
    deadline = time.monotonic() + FILL_S
    while redis.exist(logs) < len(logs):
        if time.monotonic() > deadline:
            raise InvalidRun(f"only {redis.exist(logs)} of {len(logs)} jobs began in {FILL_S} s")
        await asyncio.sleep(0.2)


def _count(redis: RedisServer, worker: Child, logs: Sequence[str]) -> Counts:
    stats, memory = redis.info("stats"), redis.info("memory")
    return Counts(
        time.monotonic(),
        redis.entries(logs),
        worker.cpu_s(),
        redis.child.cpu_s(),
        stats["total_commands_processed"],
        stats["total_net_input_bytes"],
        stats["total_net_output_bytes"],
        memory["used_memory"],
    )


def _figures(before: Counts, after: Counts) -> dict[str, float]:
    tokens = max(after.entries - before.entries, 1)
    return {
        "tokens_s": tokens / (after.at - before.at),
        "tokens_core_s": tokens / (after.worker_s - before.worker_s),
        "redis_us": (after.redis_s - before.redis_s) / tokens * 1e6,
        "commands": (after.commands - before.commands) / tokens,
        "bytes_in": (after.bytes_in - before.bytes_in) / tokens,
        "bytes_out": (after.bytes_out - before.bytes_out) / tokens,
        "bytes_kept": (after.memory - before.memory) / tokens,
    }


async def _appends(deployment: Deployment, probes: Sequence[str]) -> dict[str, float]:
    """What the probes saw, once they have ended."""
    times_ms: list[float] = []
    async with asyncio.timeout(DRAIN_S):
        for probe in probes:
            while not (probed := await deployment.probed_ms(probe)):  # noqa: ASYNC110 - another process ends
                await asyncio.sleep(0.1)
            times_ms += probed
    return {"append_p50_ms": quantile(times_ms, 0.5), "append_p99_ms": quantile(times_ms, 0.99)}
