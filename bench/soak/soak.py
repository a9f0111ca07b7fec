"""Runs a soak test and evaluates it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

from bench.soak.chaos import Chaos
from bench.soak.client import Client
from bench.soak.deployment import Deployment
from bench.soak.samples import Sample, Samples, left_behind
from bench.soak.tally import Tally
from bench.soak.workload import Workload
from tests.support.process import until
from tests.support.watcher import dismiss

LOOKS = 240
FEWEST_S, MOST_S = 0.5, 15.0
SETTLE_S = 30.0
FORGOTTEN_S = 90.0  # a deleted session's last keys stay for a minute


@dataclass(frozen=True, slots=True)
class Plan:
    """`seed` decides every choice. `to_the_last_key`: wait at the end until Redis has forgotten the last session."""

    seed: int
    seconds: float
    to_the_last_key: bool = True

    @property
    def look_s(self) -> float:
        return min(max(self.seconds / LOOKS, FEWEST_S), MOST_S)


@dataclass(frozen=True, slots=True)
class Report:
    plan: Plan
    samples: Samples
    tally: Tally

    @property
    def flat(self) -> bool:
        return not self.samples.left_behind() and all(trend.flat for trend in self.samples.trends())

    @property
    def passed(self) -> bool:
        return self.flat and not self.tally.violations

    def text(self) -> str:
        kept = [f"            {what}" for what in self.samples.left_behind()]
        lines = [
            *(trend.line() for trend in self.samples.trends()),
            f"left behind {len(kept)}",
            *kept,
            *self.tally.lines(),
            f"verdict     {'flat' if self.flat else 'NOT FLAT'}",
        ]
        return "\n".join([self.samples.markdown(), "", *lines])


async def soak(plan: Plan, folder: Path) -> Report:
    """Run the soak. The processes write their logs into the folder."""
    tally = Tally()
    async with Deployment(folder) as deployment:
        base = await _look(deployment, 0)
        during = await _live(deployment, plan, tally)
        samples = Samples(base, during, await _settled(deployment, base, plan))
        if plan.to_the_last_key and (kept := await deployment.keys_of_sessions()):
            tally.violations.append(f"Redis still has {kept} keys of sessions")
        tally.violations += deployment.troubles()
        dropped = (await deployment.metrics())["holdfast_stream_slow_closed_total"]
    if dropped < tally.viewers["deaf"]:
        tally.violations.append(f"{tally.viewers['deaf']} viewers never read, {dropped:.0f} were dropped")
    return Report(plan, samples, tally)


async def _live(deployment: Deployment, plan: Plan, tally: Tally) -> list[Sample]:
    """Run sessions and take samples."""
    async with Client(deployment.url, deployment.headers) as client:
        workload, during = Workload(deployment, client, plan.seed, tally), list[Sample]()
        chaos = asyncio.create_task(Chaos(deployment, plan.seed, tally).rage())
        looking = asyncio.create_task(_keep_looking(deployment, plan, during))
        try:
            await workload.run(plan.seconds)
            await dismiss([looking, chaos])
            await workload.wait()
        finally:
            await dismiss([looking, chaos])
            await workload.close()
    return during


async def _keep_looking(deployment: Deployment, plan: Plan, during: list[Sample]) -> None:
    began_s = time.monotonic()
    while True:
        await asyncio.sleep(plan.look_s)
        during.append(await _look(deployment, time.monotonic() - began_s))


async def _settled(deployment: Deployment, base: Sample, plan: Plan) -> Sample:
    """Return the first sample without remaining resources, or the last one."""
    samples: list[Sample] = []  # not one taken again: the connection of a look may still be open at the gateway

    async def nothing_left() -> bool:
        await asyncio.sleep(plan.look_s)
        samples.append(await _look(deployment, 0))
        if plan.to_the_last_key and await deployment.keys_of_sessions():
            return False
        return not left_behind(base, samples[-1])

    with contextlib.suppress(AssertionError):  # the verdict says what is left
        await until(nothing_left, FORGOTTEN_S if plan.to_the_last_key else SETTLE_S)
    return samples[-1]


async def _look(deployment: Deployment, at_s: float) -> Sample:
    metrics, redis_mib = await deployment.metrics(), await deployment.redis_mib()
    return Sample(
        at_s,
        deployment.gateway(),
        deployment.worker(),
        redis_mib,
        metrics["holdfast_viewers"],
        metrics["holdfast_queue_depth"],
    )
