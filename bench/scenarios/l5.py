"""L5: a reconnect storm. Most viewers lose their connections and reconnect at once, while events are appended."""

from __future__ import annotations

import time

from bench.load import Load, Usage, load
from bench.peers.all_peers import FLOOR, WITH_HISTORY
from bench.peers.stage import Peer
from bench.plan import Plan
from bench.report import Column, Table

AWAY_S = 1.0
LIVE_S = 1.0
PATIENCE_S = 60.0
COLUMNS = (
    Column("p50_ms", "caught up: p50 ms"),
    Column("slowest_ms", "all caught up, ms", against=True),
    Column("live_p99_ms", "live viewers' p99 ms", against=True),
    Column("live_max_ms", "their worst ms"),
    Column("cpu_us", "server CPU µs a viewer", against=True),
)


def run(plan: Plan) -> Table:
    storm, live = int(plan.choose(2000, 200)), int(plan.choose(200, 20))
    rate = 2.0 * storm
    title = f"{storm:,} viewers drop and resume at once while {rate:,.0f} events/s go on"
    method = (
        f"Each of {storm + live:,} viewers has a session of its own. {storm:,} are away for {AWAY_S:.0f} s; a viewer "
        "has caught up when it has all that was published before the moment of the return. "
        f"The other {live} stay; they are measured from the return on until all have caught up, at least a second. "
        "The CPU is that from the return until all have caught up, live events included."
    )
    return Table(
        "L5", title, method, COLUMNS, plan.compare((*WITH_HISTORY, FLOOR), lambda p: _storm(plan, p, storm, live, rate))
    )


def _storm(plan: Plan, peer: Peer, storm: int, live: int, rate: float) -> dict[str, float]:
    everyone = storm + live
    with (
        plan.stage(everyone) as stage,
        load(peer.start(stage), everyone, everyone, stage.folder, plan.cores.load) as running,
    ):
        running.viewers.open(0, everyone)
        running.viewers.opened(0, everyone)
        running.publisher.start(rate, int(rate * plan.choose(8, 4)))
        figures = _return(running, storm, everyone)
        running.publisher.wait()
        running.viewers.verdict(0, everyone).check()
        return figures


def _return(running: Load, storm: int, everyone: int) -> dict[str, float]:
    time.sleep(AWAY_S)
    running.viewers.drop(0, storm)
    time.sleep(AWAY_S)
    running.viewers.measure(storm, everyone)
    before = Usage.now(running)
    running.viewers.resume(0, storm)
    reached = running.viewers.reached(0, storm, timeout_s=PATIENCE_S)
    used = Usage.now(running).since(before)
    time.sleep(max(0.0, LIVE_S - reached.slowest_ms / 1000))
    deliveries = running.viewers.deliveries()
    live = {"live_p99_ms": deliveries.p99_us / 1000, "live_max_ms": deliveries.max_us / 1000}
    caught_up = {"p50_ms": reached.p50_ms, "slowest_ms": reached.slowest_ms}
    return live | caught_up | {"cpu_us": used.server / storm * 1e6}
