"""`python -m bench.takeover`: the worker that streams a job dies or freezes; how long is its viewer left in silence?

Holdfast and stock arq in one run, side by side, each with a Redis of its own. `--with-default` waits for stock arq's
default job timeout of 300 s too; without it the run takes about 90 s. `--write` puts the table into
docs/reliability-takeover.md.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import orjson

from bench import deployments, machine
from bench.client import EventReader, get
from bench.deaths import Death, by_memory, by_signal, memory_can_be_limited
from bench.figures import median
from bench.ledger import InvalidRun
from bench.machine import Cores
from bench.peers import stock_arq
from bench.peers.redis import RedisServer
from bench.peers.stage import Stage
from bench.plan import Plan
from bench.processes import ROOT, Child
from bench.report import Column, Row, Table, place

DOCUMENT = ROOT / "docs" / "reliability-takeover.md"
WORKERS = 2
TOKENS, INTERVAL_MS = 200, 20.0
KILL_AFTER = b'"w20 "'
BEGINS_AGAIN = b'"w0 "'
ARQ_DEFAULT_S = 300
START_S = 30.0
DEAD_S = 3.5
COLUMNS = (
    Column("silence_s", "silence at the viewer, s", against=True),
    Column("longest_s", "longest, s"),
    Column("law_s", "limit, s"),
)
METHOD = (
    f"Two workers; one job, a token every {INTERVAL_MS:.0f} ms. After 20 tokens the worker that streams it gets "
    "SIGKILL (killed), SIGSEGV (segfault) or a limit of memory that it exceeds at once (OOM kill); a frozen one gets "
    "SIGSTOP, so that its connections stay open. Measured is the time until a viewer, who stays connected, receives "
    "the first token of another worker; the median of all runs. The limit: for Holdfast "
    "3.5 s if the process is dead, otherwise the lease and 1 s, whatever the job's timeout is; for stock arq the "
    "longest timeout of any job of the worker and 10 s, counted from when the job was picked up."
)


class WorkerSettings:
    """Of `arq bench.takeover.WorkerSettings`; arq looks at no base class."""

    functions: ClassVar = [stock_arq.generate]
    redis_settings = stock_arq.WorkerSettings.redis_settings
    job_timeout = int(os.environ.get("JOB_TIMEOUT", str(ARQ_DEFAULT_S)))


@dataclass(slots=True)
class Holdfast(deployments.Holdfast):
    lease_s: float = 10

    def worker(self, max_jobs: int) -> Child:
        environment = {
            "HOLDFAST_REDIS_URL": self.redis.url,
            "HOLDFAST_SCRIPTED_AGENT": "1",
            "HOLDFAST_LEASE_SECONDS": str(self.lease_s),
            "HOLDFAST_MAX_JOBS": str(max_jobs),
            "HOLDFAST_GRACE_SECONDS": "0",
        }
        return self.stage.background([sys.executable, "-m", "holdfast.worker"], **environment)

    async def runs(self, session_id: str) -> str:
        """What the output of the worker that runs the session's job holds."""
        jobs = orjson.loads(await get(self.port, f"/v1/sessions/{session_id}/jobs"))
        return str(jobs["jobs"][-1]["worker"])


@dataclass(slots=True)
class StockArq(deployments.StockArq):
    timeout_s: int = ARQ_DEFAULT_S

    def worker(self, max_jobs: int) -> Child:
        command = [sys.executable, "-m", "arq", "bench.takeover.WorkerSettings"]
        return self.stage.background(command, REDIS_URL=self.redis.url, JOB_TIMEOUT=str(self.timeout_s))

    async def runs(self, session_id: str) -> str:
        return f"generate('{session_id}'"


System = Holdfast | StockArq
KILL = by_signal(signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Case:
    """One system with one setting. `law_s`: the longest silence that its rules allow."""

    name: str
    make: Callable[[Stage, RedisServer], System]
    law_s: float
    kills: int
    death: Death = KILL


def dead(how: str, death: Death, kills: int) -> Case:
    return Case(f"Holdfast, default settings, {how}", Holdfast, DEAD_S, kills, death)


def frozen(lease_s: float, kills: int) -> Case:
    return Case(
        f"Holdfast, lease {lease_s:.0f} s" + (" (default)" if lease_s == 10 else "") + ", frozen",
        lambda stage, redis: Holdfast(stage, redis, lease_s=lease_s),
        lease_s + 1,
        kills,
        by_signal(signal.SIGSTOP),
    )


def timed(timeout_s: int, kills: int) -> Case:
    return Case(
        f"stock arq, job_timeout {timeout_s} s" + (" (default)" if timeout_s == ARQ_DEFAULT_S else ""),
        lambda stage, redis: StockArq(stage, redis, timeout_s=timeout_s),
        timeout_s + 10,
        kills,
    )


def cases(*, with_default: bool) -> list[Case]:
    """All cases. Without the right to limit the memory of a process there is none for the OOM kill."""
    chosen = [dead("killed", KILL, 20), dead("segfault", by_signal(signal.SIGSEGV), 20)]
    if memory_can_be_limited():
        chosen.append(dead("OOM kill", by_memory, 20))
    chosen += [frozen(10, 4), frozen(2, 6), timed(10, 3), timed(30, 2), timed(60, 1)]
    return [*chosen, timed(ARQ_DEFAULT_S, 1)] if with_default else chosen


def measure(chosen: Sequence[Case]) -> list[Row]:
    plan = Plan(quick=False, repeats=1, cores=Cores(None, None))
    with contextlib.ExitStack() as exits:
        stages = [exits.enter_context(plan.stage(0)) for _ in chosen]
        systems = [case.make(stage, stage.redis()) for case, stage in zip(chosen, stages, strict=True)]
        return asyncio.run(_all(chosen, systems))


async def _all(chosen: Sequence[Case], systems: Sequence[System]) -> list[Row]:
    return await asyncio.gather(*(_row(case, system) for case, system in zip(chosen, systems, strict=True)))


async def _row(case: Case, system: System) -> Row:
    row = Row(case.name)
    workers: list[Child] = []
    for number in range(case.kills):
        await _staff(system, workers)
        silence_s = await _silence_s(system, workers, f"s{number}", case)
        row.runs.append({"silence_s": silence_s, "law_s": case.law_s})
        sys.stderr.write(f"  {case.name}: {silence_s:.2f} s\n")
    longest_s = max(run["silence_s"] for run in row.runs)
    for run in row.runs:
        run["longest_s"] = longest_s
    return row


async def _staff(system: System, workers: list[Child]) -> None:
    workers[:] = [worker for worker in workers if worker.running]
    while len(workers) < WORKERS:
        workers.append(system.worker(max_jobs=10))
    for worker in workers:
        await worker.until_output("worker started", "Starting worker")


async def _silence_s(system: System, workers: Sequence[Child], session_id: str, case: Case) -> float:
    """Return the seconds from the death of the streaming worker until its viewer gets a token. Raises InvalidRun."""
    await system.submit(session_id, TOKENS, INTERVAL_MS)
    viewer = await system.view(session_id)
    try:
        await _told(viewer, KILL_AFTER, START_S)
        mark = await system.runs(session_id)
        [owner] = [worker for worker in workers if worker.running and mark in worker.output()]
        try:
            died_s = await case.death(owner)
            await _told(viewer, BEGINS_AGAIN, case.law_s + START_S)
            return time.monotonic() - died_s
        finally:
            owner.kill()
            await asyncio.to_thread(owner.stop)  # otherwise it counts as one of the workers of the next run
    finally:
        viewer.close()


async def _told(viewer: EventReader, text: bytes, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            while line := await viewer.reader.readline():
                if text in line:
                    return
    except TimeoutError:
        raise InvalidRun(f"no {text.decode()} within {timeout_s:.0f} s") from None
    raise InvalidRun("the stream ended")


def summary(rows: Sequence[Row]) -> str:
    """The ratio in one sentence: stock arq's default against Holdfast's."""
    ours = median([run["silence_s"] for run in rows[0].runs])
    default = next((row for row in rows if row.name.endswith(f"{ARQ_DEFAULT_S} s (default)")), None)
    theirs = median([run["silence_s"] for run in default.runs]) if default else ARQ_DEFAULT_S + 10.0
    how = "measured" if default else "by its law, which the rows above bear out"
    return (
        f"With the defaults of both, a viewer of stock arq is left in silence {theirs / ours:.0f} times as long: "
        f"{theirs:.0f} s ({how}) against {ours:.1f} s."
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.takeover", description=__doc__)
    parser.add_argument(
        "--with-default", action="store_true", help="stock arq's default job timeout too: 5 minutes more"
    )
    parser.add_argument("--write", action="store_true", help=f"put the table into {DOCUMENT.relative_to(ROOT)}")
    arguments = parser.parse_args()
    facts = machine.facts()
    rows = measure(cases(with_default=arguments.with_default))
    table = Table("T1", "takeover after a worker was killed or frozen", METHOD, COLUMNS, rows)
    text = f"{table.markdown()}\n\n{summary(rows)}\n\nTaken on {facts}."
    print(text)
    if arguments.write:
        DOCUMENT.write_text(place(DOCUMENT.read_text(), table.name, text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
