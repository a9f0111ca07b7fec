"""L1: many sessions, one viewer each, at the pace of a language model."""

from __future__ import annotations

from bench.peers import cluster
from bench.peers.all_peers import ALL_PEERS, DIALECTS, FLOOR
from bench.plan import Plan
from bench.report import Column, Table
from bench.streaming import Scene, stream

COLUMNS = (
    Column("cpu_us", "server CPU µs an event", against=True),
    Column("p50_ms", "p50 ms"),
    Column("p99_ms", "p99 ms"),
    Column("server", "server core"),
    Column("redis", "Redis core"),
    Column("load", "load core"),
)


def run(plan: Plan) -> Table:
    sessions = int(plan.choose(1000, 100))
    scene = Scene(sessions, sessions, rate=sessions * 20, seconds=plan.choose(10, 2))
    title = f"{sessions:,} sessions × 1 viewer × 20 events/s"
    method = (
        "Latency is from publishing to the client. Holdfast's log is written as a worker writes it, one event a "
        "command; nchan's CPU includes its intake over HTTP. Shares are of one core; Redis and the load share one."
    )
    return Table(
        "L1",
        title,
        method,
        COLUMNS,
        plan.compare((*ALL_PEERS, cluster.PEER, *DIALECTS, FLOOR), lambda peer: stream(plan, peer, scene)),
    )
