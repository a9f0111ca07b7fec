"""B1: live viewers while a client posts bodies that are expensive to check."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Iterator

import orjson
from holdfast.shared.offered_agents import OfferedAgents
from holdfast.shared.redis.client import connect

from bench.hostile import SCHEMAS
from bench.ledger import InvalidRun
from bench.load import Target, Usage, load
from bench.peers import holdfast
from bench.peers.stage import Peer, Stage
from bench.plan import Plan
from bench.processes import Child
from bench.report import Column, Table
from bench.streaming import ATTACH_S, WARM_UP_S, Scene, figures, publish

RATE = 1000.0
CONNECTIONS = 8
COLUMNS = (
    Column("p50_ms", "viewers' p50 ms"),
    Column("p99_ms", "viewers' p99 ms", against=True),
    Column("worst_ms", "worst ms"),
    Column("bodies_s", "bodies/s"),
    Column("slowest_ms", "slowest answer ms"),
    Column("server", "server core"),
    Column("load", "load core"),
)


def run(plan: Plan) -> Table:
    viewers, seconds = int(plan.choose(1000, 100)), plan.choose(10, 2)
    scene = Scene(viewers, viewers, plan.choose(RATE, 200), seconds)
    title = f"{viewers:,} live viewers of a session each at {scene.rate:,.0f} events/s, alone and beside hostile bodies"
    method = (
        f"{CONNECTIONS} connections post the bodies of `bench/hostile.py` in turn, each as soon as the one before it "
        "is answered: wrong items by the hundred thousand, unknown fields, deep nesting, sets, patterns that backtrack."
    )
    peers = [
        Peer("holdfast", "Viewers alone", holdfast.start),
        Peer("holdfast", "beside hostile bodies", holdfast.start, hostile=True),
    ]
    rows = plan.compare(peers, lambda peer: _once(plan, peer, scene, hostile=peer.hostile))
    return Table("B1", title, method, COLUMNS, rows)


def _once(plan: Plan, peer: Peer, scene: Scene, *, hostile: bool) -> dict[str, float]:
    with plan.stage(scene.sessions) as stage:
        target = peer.start(stage)
        asyncio.run(_offer(target))
        with load(target, scene.sessions, scene.viewers, stage.folder, plan.cores.load) as running:
            viewers, everyone = running.viewers, (0, scene.viewers)
            viewers.open(*everyone)
            viewers.opened(*everyone)
            time.sleep(ATTACH_S)
            publish(running, scene, WARM_UP_S)
            with _posting(stage, target) if hostile else _nothing() as posted:
                time.sleep(ATTACH_S)
                viewers.measure(*everyone)
                before = Usage.now(running)
                sent = publish(running, scene, scene.seconds)
                viewers.verdict(*everyone, timeout_ms=scene.settle_ms).check()
                deliveries = viewers.deliveries()
                found = figures(deliveries, Usage.now(running).since(before), sent) | {
                    "worst_ms": deliveries.max_us / 1000
                }
            return found | posted


async def _offer(target: Target) -> None:
    assert target.redis is not None
    redis = connect(target.redis.url, max_connections=1)
    try:
        await OfferedAgents(redis).offer(SCHEMAS)
    finally:
        await redis.aclose()


@contextlib.contextmanager
def _nothing() -> Iterator[dict[str, float]]:
    yield {}


@contextlib.contextmanager
def _posting(stage: Stage, target: Target) -> Iterator[dict[str, float]]:
    """Post expensive bodies during the block; the yielded dict has the figures afterwards. Raises InvalidRun when
    the gateway fails."""
    command = [sys.executable, "-m", "bench.hostile", str(target.ports[0]), str(CONNECTIONS)]
    child = Child(command, log=stage.folder / "hostile.log", core=stage.cores.load, dialogue=True)
    posted: dict[str, float] = {}
    try:
        yield posted
        told = orjson.loads(child.ask("stop"))
    finally:
        child.stop()
    bodies = sum(told["answers"].values())
    if told["answers"].keys() - {"202", "422"}:
        raise InvalidRun(f"bodies were answered with {told['answers']}")
    posted |= {"bodies_s": bodies / told["seconds"], "slowest_ms": told["slowest_s"] * 1000}
