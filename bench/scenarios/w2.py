"""W2: from POST to the first token at a viewer, on an idle system."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence

from bench.deployments import Deployment, Holdfast, StockArq
from bench.figures import quantile
from bench.machine import Cores
from bench.plan import Plan
from bench.report import Column, Row, Table

POLL_S = 0.5  # arq's default; samples fall anywhere in it
COLUMNS = (
    Column("p50_ms", "p50 ms", against=True),
    Column("p99_ms", "p99 ms", against=True),
    Column("new_p50_ms", "new session: p50 ms", against=True),
    Column("new_p99_ms", "p99 ms", against=True),
)


def run(plan: Plan) -> Table:
    samples = int(plan.choose(40, 10))
    method = (
        f"{samples} jobs each, one at a time, both systems in turn on one Redis, at random moments of arq's poll "
        f"({POLL_S} s by default). From before the POST until the first token is at a viewer who was connected before; "
        "for a new session, until it is at one who connects once the POST is answered."
    )
    rows = [Row(Holdfast.__name__), Row("stock arq, default poll")]
    for _ in range(plan.repeats):
        for row, figures in zip(rows, _compare(samples), strict=True):
            row.runs.append(figures)
    return Table("W2", "enqueue to first token at a viewer, idle system", method, COLUMNS, rows)


def _compare(samples: int) -> list[dict[str, float]]:
    plan = Plan(quick=False, repeats=1, cores=Cores(None, None))
    with plan.stage(0) as stage:
        redis = stage.redis()
        deployments: Sequence[Deployment] = (Holdfast(stage, redis), StockArq(stage, redis))
        for deployment in deployments:
            deployment.worker(max_jobs=10)
        return asyncio.run(_sample(deployments, samples))


async def _sample(deployments: Sequence[Deployment], samples: int) -> list[dict[str, float]]:
    for deployment in deployments:
        await deployment.ready()
        await _new(deployment, "warm-up")
        await _waiting(deployment, "warm-up")
    waiting_ms: list[list[float]] = [[] for _ in deployments]
    new_ms: list[list[float]] = [[] for _ in deployments]
    for number in range(samples):
        for index, deployment in enumerate(deployments):
            new_ms[index].append(await _new(deployment, f"s{number}"))
            waiting_ms[index].append(await _waiting(deployment, f"s{number}"))
    return [_figures(waiting, new) for waiting, new in zip(waiting_ms, new_ms, strict=True)]


async def _new(deployment: Deployment, session_id: str) -> float:
    """Milliseconds from the POST that makes a session to its first token."""
    await asyncio.sleep(random.uniform(0, POLL_S))  # noqa: S311 - chance, not secrecy
    began = time.perf_counter()
    await deployment.submit(session_id, 1, 0)
    viewer = await deployment.view(session_id)
    await viewer.until(b"text.delta")
    took_ms = (time.perf_counter() - began) * 1000
    viewer.close()
    return took_ms


async def _waiting(deployment: Deployment, session_id: str) -> float:
    """Milliseconds from a POST to a session that a viewer watches, until its token is there."""
    viewer = await deployment.view(session_id)
    await viewer.until(b"text.delta")
    await asyncio.sleep(random.uniform(0, POLL_S))  # noqa: S311 - likewise
    began = time.perf_counter()
    await deployment.submit(session_id, 1, 0)
    await viewer.until(b"text.delta")
    took_ms = (time.perf_counter() - began) * 1000
    viewer.close()
    return took_ms


def _figures(waiting_ms: Sequence[float], new_ms: Sequence[float]) -> dict[str, float]:
    return {
        "p50_ms": quantile(waiting_ms, 0.5),
        "p99_ms": quantile(waiting_ms, 0.99),
        "new_p50_ms": quantile(new_ms, 0.5),
        "new_p99_ms": quantile(new_ms, 0.99),
    }
