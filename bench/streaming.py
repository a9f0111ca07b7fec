"""Live streaming at one rate: what L1, L2, L3 and H1 measure."""

from __future__ import annotations

import time
from dataclasses import dataclass

from bench.ledger import InvalidRun
from bench.load import SETTLE_MS, Deliveries, Load, Sent, Usage, load
from bench.peers.stage import Peer
from bench.plan import Plan

WARM_UP_S = 1.0
ATTACH_S = 0.3
GATHER_S = 0.02  # a worker's batching window
LATE_MS = 50.0  # a publisher that far behind its schedule did not offer the rate


@dataclass(frozen=True, slots=True)
class Scene:
    """`rate`: events a second over all sessions. The viewers are spread over the sessions."""

    sessions: int
    viewers: int
    rate: float
    seconds: float
    settle_ms: int = SETTLE_MS

    @property
    def batch(self) -> int:
        """How many events of one session a worker gathers in its window."""
        return max(1, int(self.rate / self.sessions * GATHER_S))


def stream(plan: Plan, peer: Peer, scene: Scene) -> dict[str, float]:
    """Publish at the scene's rate to live viewers. Raises InvalidRun when a viewer lost or doubled an event."""
    with plan.stage(scene.sessions, batch=scene.batch) as stage:
        target = peer.start(stage)
        with load(target, scene.sessions, scene.viewers, stage.folder, plan.cores.load) as running:
            return _stream(running, scene)


def _stream(running: Load, scene: Scene) -> dict[str, float]:
    viewers, everyone = running.viewers, (0, scene.viewers)
    viewers.open(*everyone)
    viewers.opened(*everyone)
    time.sleep(ATTACH_S)
    publish(running, scene, WARM_UP_S)
    viewers.verdict(*everyone, timeout_ms=scene.settle_ms).check()
    viewers.measure(*everyone)
    before = Usage.now(running)
    sent = publish(running, scene, scene.seconds)
    viewers.verdict(*everyone, timeout_ms=scene.settle_ms).check()
    return figures(viewers.deliveries(), Usage.now(running).since(before), sent)


def publish(running: Load, scene: Scene, seconds: float) -> Sent:
    """Raises InvalidRun when the publisher could not keep to the rate."""
    running.publisher.start(scene.rate, max(1, int(scene.rate * seconds)))
    sent = running.publisher.wait()
    if sent.late_ms > LATE_MS:
        raise InvalidRun(f"the publisher was {sent.late_ms:.0f} ms behind its schedule")
    return sent


def figures(deliveries: Deliveries, used: Usage, sent: Sent) -> dict[str, float]:
    """Per delivery and per second. `server`, `redis` and `load` are shares of one core."""
    return {
        "deliveries_s": deliveries.events / sent.seconds,
        "cpu_us": used.server / max(deliveries.events, 1) * 1e6,
        "p50_ms": deliveries.p50_us / 1000,
        "p99_ms": deliveries.p99_us / 1000,
        "server": used.server / used.at,
        "redis": used.redis / used.at,
        "load": used.load / used.at,
    }
