"""Search for the highest rate that a server sustains, for L2 and L3."""

from __future__ import annotations

import sys
from collections.abc import Callable

from bench.ledger import InvalidRun
from bench.peers.stage import Peer
from bench.plan import Plan
from bench.search import highest
from bench.streaming import Scene, stream

FULL = 0.9  # of a core


def saturate(
    plan: Plan, peer: Peer, scene_at: Callable[[float], Scene], *, first: float, ceiling: float, p99_ms: float
) -> dict[str, float]:
    """The figures at the highest rate with p99 within the bound and no event lost. `load_bound` is 1 where the core of
    Redis and the load was full and the server's was not: the server might carry more."""
    best: dict[float, dict[str, float]] = {}

    def carries(rate: float) -> bool:
        try:
            figures = stream(plan, peer, scene_at(rate))
        except InvalidRun as reason:
            sys.stderr.write(f"    {peer.name} at {rate:,.0f}/s: {reason}\n")
            return False
        shown = f"p99 {figures['p99_ms']:.1f} ms, {figures['cpu_us']:.3f} µs a delivery"
        sys.stderr.write(f"    {peer.name} at {rate:,.0f}/s: {shown}\n")
        if figures["p99_ms"] <= p99_ms:
            best[rate] = figures
        return figures["p99_ms"] <= p99_ms

    rate = highest(carries, first, steps=int(plan.choose(3, 1)), ceiling=ceiling)
    if not rate:
        raise InvalidRun("carried no rate at all")
    figures = best[rate]
    bound = figures["redis"] + figures["load"] > FULL > figures["server"]
    return figures | {"load_bound": float(bound)}
