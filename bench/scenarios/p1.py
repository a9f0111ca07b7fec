"""P1: a gateway as one process and as two, on one port."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

from bench.ledger import InvalidRun
from bench.load import Target, load
from bench.machine import Cores
from bench.peers import holdfast
from bench.peers.stage import Peer, Stage
from bench.plan import Plan
from bench.report import Column, Table
from bench.saturation import saturate
from bench.scenarios.l3 import CEILING, FIRST, P99_MS
from bench.streaming import Scene

COLUMNS = (
    Column("connects_s", "connects/s", against=True),
    Column("deliveries_s", "deliveries/s", against=True),
    Column("p99_ms", "p99 ms"),
    Column("redis", "Redis core"),
    Column("load", "load core"),
)
START_S = 20


def _start(processes: int, stage: Stage) -> Target:
    """Start a gateway and wait until all of its processes listen."""
    target = holdfast.start(stage, settings={"HOLDFAST_GATEWAY_PROCESSES": str(processes)})
    deadline = time.monotonic() + START_S
    while target.server[0].output().count('"listening"') < processes:
        if time.monotonic() > deadline:
            raise InvalidRun(f"{processes} processes did not start within {START_S} s")
        time.sleep(0.05)
    return target


PEERS = (Peer("1", "1 process", partial(_start, 1)), Peer("2", "2 processes", partial(_start, 2)))


def run(plan: Plan) -> Table:
    free = replace(plan, cores=Cores(None, None))
    sessions, viewers = int(plan.choose(1000, 100)), int(plan.choose(10_000, 500))
    title = f"`holdfast gateway --processes N`: {viewers:,} viewers connect; {sessions:,} sessions × 1 viewer as in L3"
    method = (
        "Nothing is pinned: Redis, the load and all processes of the gateway share the cores of the machine. "
        "Where these are full, further processes bring nothing."
    )
    rows = free.compare(PEERS, lambda peer: _connects(free, peer, sessions, viewers) | _live(free, peer, sessions))
    return Table("P1", title, method, COLUMNS, rows)


def _connects(plan: Plan, peer: Peer, sessions: int, viewers: int) -> dict[str, float]:
    with plan.stage(sessions) as stage:
        target = peer.start(stage)
        with load(target, sessions, viewers, stage.folder, None) as running:
            running.viewers.open(0, viewers)
            return {"connects_s": viewers / running.viewers.opened(0, viewers)}


def _live(plan: Plan, peer: Peer, sessions: int) -> dict[str, float]:
    seconds = plan.choose(3, 1)
    return saturate(
        plan,
        peer,
        lambda rate: Scene(sessions, sessions, rate, seconds, settle_ms=2000),
        first=plan.choose(FIRST, 1000),
        ceiling=plan.choose(CEILING, 4000),
        p99_ms=P99_MS,
    )
