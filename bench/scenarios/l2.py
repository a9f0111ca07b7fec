"""L2: one session with many viewers."""

from __future__ import annotations

from bench.peers.all_peers import ALL_PEERS, DIALECTS
from bench.plan import Plan
from bench.report import Column, Table
from bench.saturation import saturate
from bench.streaming import Scene

P99_MS = 60.0
FIRST, CEILING = 10.0, 2000.0
COLUMNS = (
    Column("deliveries_s", "deliveries/s", against=True),
    Column("p50_ms", "p50 ms"),
    Column("p99_ms", "p99 ms"),
    Column("cpu_us", "server CPU µs a delivery"),
    Column("server", "server core"),
    Column("redis", "Redis core"),
    Column("load", "load core"),
)


def run(plan: Plan) -> Table:
    viewers, seconds = int(plan.choose(1000, 200)), plan.choose(3, 1)
    title = f"1 session × {viewers:,} viewers, the most deliveries/s at p99 ≤ {P99_MS:.0f} ms"
    method = (
        "Events of the session come one by one for the peers and in a worker's batches (what gathers in 20 ms, which "
        "counts as latency) for Holdfast."
    )
    rows = plan.compare(
        (*ALL_PEERS, *DIALECTS),
        lambda peer: saturate(
            plan,
            peer,
            lambda rate: Scene(1, viewers, rate, seconds, settle_ms=2000),
            first=FIRST,
            ceiling=plan.choose(CEILING, 80),
            p99_ms=P99_MS,
        ),
    )
    return Table("L2", title, method, COLUMNS, rows)
