"""L4: catching up. Many viewers read one log from the start, and many logs are read after a pause."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.load import EVENT, SHORT_EVENT, Load, load
from bench.peers import holdfast
from bench.peers.all_peers import WITH_HISTORY
from bench.peers.stage import Peer
from bench.plan import Plan
from bench.report import Column, Table

HOT_VIEWERS = 50
COLD_SESSIONS = 50
LIVE_RATE = 200.0
LIVE_S = 3.0
PATIENCE_S = 120.0
ARRIVE_S = 1.0  # for those peers whose publisher gets no answers
COLUMNS = (
    Column("slowest_ms", "replay: slowest ms", against=True),
    Column("kib", "KiB a viewer", against=True),
    Column("cold_events_s", "cold: events/s", against=True),
    Column("cold_live_ms", "live viewer's worst ms"),
)


def run(plan: Plan) -> Table:
    events, cold = int(plan.choose(5000, 500)), int(plan.choose(1000, 200))
    title = (
        f"replay of {events:,} events to {HOT_VIEWERS} viewers of one session; "
        f"cold, {COLD_SESSIONS} sessions × {cold:,} events to a viewer each"
    )
    method = (
        f"All viewers connect at once. During the cold replay another session streams {LIVE_RATE:.0f} events/s to a "
        "live viewer. The texts replayed are 5 characters each. "
        "resumable-stream can replay only what its producer still holds in memory."
    )
    peers = (holdfast.PEER, holdfast.RAW, *WITH_HISTORY[1:])
    rows = plan.compare(peers, lambda peer: {**_hot(plan, peer, events), **_cold(plan, peer, cold)})
    return Table("L4", title, method, COLUMNS, rows)


def _hot(plan: Plan, peer: Peer, events: int) -> dict[str, float]:
    """One viewer reads it first, so that the publisher is known to be done; then all of them."""
    with _filled(plan, peer, 1, 1 + HOT_VIEWERS, events, SHORT_EVENT) as running:
        viewers = running.viewers
        viewers.open(0, 1, goal=events)
        viewers.reached(0, 1, timeout_s=PATIENCE_S)
        viewers.drop(0, 1)
        viewers.open(1, 1 + HOT_VIEWERS, goal=events, pending=0)
        reached = viewers.reached(1, 1 + HOT_VIEWERS, timeout_s=PATIENCE_S)
        viewers.verdict(1, 1 + HOT_VIEWERS).check()
        return {"slowest_ms": reached.slowest_ms, "kib": reached.bytes / HOT_VIEWERS / 1024}


def _cold(plan: Plan, peer: Peer, events: int) -> dict[str, float]:
    live = COLD_SESSIONS
    with _filled(plan, peer, COLD_SESSIONS + 1, COLD_SESSIONS + 1, events, EVENT) as running:
        viewers = running.viewers
        viewers.open(live, live + 1)
        viewers.opened(live, live + 1)
        viewers.verdict(live, live + 1).check()
        viewers.measure(live, live + 1)
        running.publisher.start(LIVE_RATE, int(LIVE_RATE * LIVE_S), first=live)
        time.sleep(LIVE_S / 10)
        viewers.open(0, COLD_SESSIONS, goal=events, pending=0)
        reached = viewers.reached(0, COLD_SESSIONS, timeout_s=PATIENCE_S)
        running.publisher.wait()
        viewers.verdict(0, live + 1).check()
        return {
            "cold_events_s": COLD_SESSIONS * events / reached.slowest_ms * 1000,
            "cold_live_ms": viewers.deliveries().max_us / 1000,
        }


@contextmanager
def _filled(plan: Plan, peer: Peer, sessions: int, viewers: int, events: int, event: bytes) -> Iterator[Load]:
    """A load whose sessions have so many such events each."""
    with (
        plan.stage(sessions, event=event) as stage,
        load(peer.start(stage), sessions, viewers, stage.folder, plan.cores.load) as running,
    ):
        running.publisher.start(0, sessions * events)
        running.publisher.wait()
        time.sleep(ARRIVE_S)
        yield running
