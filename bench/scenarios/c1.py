"""C1: appends to one Redis and to a Redis Cluster of three masters."""

from __future__ import annotations

from bench.load import Target, load
from bench.peers import cluster, holdfast
from bench.peers.stage import Peer
from bench.plan import Plan
from bench.report import Column, Table

BATCH = 1

COLUMNS = (
    Column("appends_core_s", "appends a second, with a core for each node", against=True),
    Column("cpu_us", "Redis CPU µs an append"),
    Column("busiest", "share of the busiest node"),
)


def run(plan: Plan) -> Table:
    sessions, events = int(plan.choose(3000, 300)), int(plan.choose(600_000, 6000))
    method = (
        "Each event is one command of its own, as a worker sends it, as fast as it is answered; there are no viewers. "
        "The nodes share a core here, so the figure is the appends of all in a CPU second of the busiest node."
    )
    rows = plan.compare((holdfast.PEER, cluster.PEER), lambda peer: _append(plan, peer, sessions, events))
    return Table("C1", f"{sessions:,} sessions, {events:,} appends", method, COLUMNS, rows)


def _append(plan: Plan, peer: Peer, sessions: int, events: int) -> dict[str, float]:
    with plan.stage(sessions, batch=BATCH) as stage:
        target = peer.start(stage)
        with load(target, sessions, 1, stage.folder, plan.cores.load) as running:
            before = _cpu_s(target)
            running.publisher.start(0, events)
            running.publisher.wait()
            used = [now - then for now, then in zip(_cpu_s(target), before, strict=True)]
    return {
        "appends_core_s": events / max(used),
        "cpu_us": sum(used) / events * 1e6,
        "busiest": max(used) / sum(used),
    }


def _cpu_s(target: Target) -> list[float]:
    """The CPU seconds of each node that keeps logs."""
    assert target.redis is not None
    return [child.cpu_s() for child in target.nodes or (target.redis.child,)]
