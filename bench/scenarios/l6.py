"""L6: idle viewers."""

from __future__ import annotations

import time

from bench.load import Target, load
from bench.peers.all_peers import ALL_PEERS
from bench.peers.stage import Peer
from bench.plan import Plan
from bench.report import Column, Table

IDLE_S = 3.0
COLUMNS = (
    Column("kib", "KiB a viewer", against=True),
    Column("connects_s", "connects/s", against=True),
    Column("redis_connections", "Redis connections"),
    Column("idle_core", "server core while idle"),
)


def run(plan: Plan) -> Table:
    viewers, sessions = int(plan.choose(5000, 500)), int(plan.choose(1000, 100))
    title = f"{viewers:,} idle viewers of {sessions:,} sessions"
    method = (
        "Memory is the server's proportional set size, after less before. A viewer is connected when it has an "
        "answer's head; at most 256 connect at a time. Redis connections include one that counts them."
    )
    return Table(
        "L6", title, method, COLUMNS, plan.compare(ALL_PEERS, lambda peer: _idle(plan, peer, sessions, viewers))
    )


def _idle(plan: Plan, peer: Peer, sessions: int, viewers: int) -> dict[str, float]:
    with plan.stage(sessions) as stage:
        target = peer.start(stage)
        with load(target, sessions, viewers, stage.folder, plan.cores.load) as running:
            time.sleep(1)
            before = _memory_kib(target)
            running.viewers.open(0, viewers)
            seconds = running.viewers.opened(0, viewers)
            time.sleep(1)
            used, at = sum(child.cpu_s() for child in target.server), time.monotonic()
            time.sleep(plan.choose(IDLE_S, 1))
            busy = (sum(child.cpu_s() for child in target.server) - used) / (time.monotonic() - at)
            figures = {
                "kib": (_memory_kib(target) - before) / viewers,
                "connects_s": viewers / seconds,
                "idle_core": busy,
            }
            connections = target.redis.connections() if target.redis is not None else None
            return figures if connections is None else figures | {"redis_connections": connections}


def _memory_kib(target: Target) -> float:
    return sum(child.memory_kib() for child in target.server)
