"""L3: many sessions, raised to saturation."""

from __future__ import annotations

from bench.peers import cluster
from bench.peers.all_peers import ALL_PEERS
from bench.plan import Plan
from bench.report import Table
from bench.saturation import saturate
from bench.scenarios.l2 import COLUMNS
from bench.streaming import Scene

P99_MS = 100.0
FIRST, CEILING = 8000.0, 512_000.0


def run(plan: Plan) -> Table:
    sessions, seconds = int(plan.choose(1000, 100)), plan.choose(3, 1)
    title = f"{sessions:,} sessions × 1 viewer, the most events/s at p99 ≤ {P99_MS:.0f} ms"
    method = "As L2. Where the load's core is full and the server's is not, the server might carry more."
    rows = plan.compare(
        (*ALL_PEERS, cluster.PEER),
        lambda peer: saturate(
            plan,
            peer,
            lambda rate: Scene(sessions, sessions, rate, seconds, settle_ms=2000),
            first=plan.choose(FIRST, 1000),
            ceiling=plan.choose(CEILING, 4000),
            p99_ms=P99_MS,
        ),
    )
    return Table("L3", title, method, COLUMNS, rows)
