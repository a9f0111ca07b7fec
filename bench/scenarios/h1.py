"""H1: more processes on the same cores."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from bench.machine import Cores
from bench.peers import holdfast
from bench.peers.stage import Peer
from bench.plan import Plan
from bench.report import Column, Table
from bench.saturation import saturate
from bench.streaming import Scene

P99_MS = 100.0
FIRST, CEILING = 8000.0, 512_000.0
COLUMNS = (
    Column("deliveries_s", "events/s", against=True),
    Column("p99_ms", "p99 ms"),
    Column("cpu_us", "gateways' CPU µs an event"),
    Column("server", "gateways, cores"),
    Column("redis", "Redis, cores"),
    Column("load", "load, cores"),
)


def run(plan: Plan) -> Table:
    sessions, seconds = int(plan.choose(1000, 100)), plan.choose(3, 1)
    title = f"{sessions:,} sessions × 1 viewer over several gateways, nothing pinned, the most events/s at p99 ≤ 100 ms"
    method = (
        "Gateways, Redis and the load share the machine's cores. Where their sum is all of them, more processes cannot "
        "help here; with cores of their own, n gateways carry n times one core's worth: 1 s by the CPU µs an event."
    )
    peers = [
        Peer("holdfast", f"{count} gateway{'s' if count > 1 else ''}", partial(holdfast.start, gateways=count))
        for count in (1, 2, 4)
    ]
    free = replace(plan, cores=Cores(None, None))
    rows = free.compare(
        peers,
        lambda peer: saturate(
            free,
            peer,
            lambda rate: Scene(sessions, sessions, rate, seconds, settle_ms=2000),
            first=plan.choose(FIRST, 1000),
            ceiling=plan.choose(CEILING, 4000),
            p99_ms=P99_MS,
        ),
    )
    return Table("H1", title, method, COLUMNS, rows)
