"""Keep this worker's lease, and find dead workers.

A worker sends heartbeats, and compares the entries that it leases with those that it works on. It makes the entries of
dead workers visible again, without comparing clocks of different machines: a worker is dead when its heartbeat counter
has not moved through an unbroken series of observations that spans the lease on this process's monotonic clock. A
failed or late observation restarts the series: while Redis was unavailable, no worker could send heartbeats. A worker
whose connection is closed is found dead sooner, see presence.py; that is a guess until the lease has passed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog
from holdfast.shared.background import repeat
from holdfast.shared.leases import Leases
from holdfast.worker.process.deliveries import Deliveries
from holdfast.worker.process.measures import DEAD_WORKERS, MISTAKEN, TAKEOVERS, measures
from holdfast.worker.process.outage import Outage
from holdfast.worker.process.presence import GRACE_SECONDS, ClosedConnections, Presence

LONGEST_PAUSE_S = 0.25  # between failed heartbeats

log = structlog.get_logger()


class Lease:
    """Keeps this worker's queue entries leased.

    `deliveries` are those of the entries that this worker works on. `on_stray` is called with each entry that is leased
    to this worker without its knowledge, because the reply to a take was lost. `status` describes the worker, see
    shared/workers.py. `beat_at_s`: the time of the last
    heartbeat that was acknowledged, by the monotonic clock."""

    def __init__(
        self,
        leases: Leases,
        outage: Outage,
        worker_id: str,
        lease_s: float,
        deliveries: Deliveries,
        on_stray: Callable[[str], None],
        status: Callable[[], bytes] = lambda: b"{}",
    ) -> None:
        self._leases = leases
        self._outage = outage
        self._worker_id = worker_id
        self._beat_s = lease_s / 3
        self._deliveries = deliveries
        self._on_stray = on_stray
        self._status = status
        self._unheard_of: set[str] = set()
        self.beat_at_s = time.monotonic()

    async def run(self) -> None:
        """Send heartbeats until cancelled."""
        longest_pause_s = min(self._beat_s, LONGEST_PAUSE_S)
        await repeat("lease", self.beat, outage=self._outage, longest_pause_s=longest_pause_s)

    async def beat(self) -> float:
        """Send one heartbeat. Entries of running jobs that are no longer leased are leased again, or reported as lost.

        Returns the seconds until the next heartbeat."""
        before, running = frozenset(self._deliveries.held()), frozenset(self._deliveries.running())
        leased = await self._leases.beat(self._worker_id, self._status())
        self.beat_at_s = time.monotonic()
        held = self._deliveries.held()
        await self._retake(running - leased)
        # A take may be in flight: an entry is stray only if two heartbeats in a row found it.
        unheard_of = leased - before - held
        for entry in unheard_of & self._unheard_of:
            self._on_stray(entry)
        self._unheard_of = unheard_of
        return self._beat_s

    async def _retake(self, entry_ids: frozenset[str]) -> None:
        """Lease entries again that the queue lost, or made visible because this worker was found dead. Until
        another attempt claims the session, the attempt here owns it, so the job goes on."""
        running = self._deliveries.running()
        entries = [running[entry_id] for entry_id in entry_ids if entry_id in running]
        if entries:
            lost = await self._leases.retake(self._worker_id, entries)
            self._deliveries.paused -= {entry.id for entry in entries}  # the queue counts them as running
            for entry_id in lost:
                self._deliveries.lose(entry_id)


class FailureDetector:
    """Decides from a series of observed heartbeat counters which workers are dead. Free of I/O: the caller passes the
    time.

    `_seen`: each worker's counter, and when this series first observed that value, in seconds of the monotonic
    clock."""

    def __init__(self, lease_s: float, late_s: float) -> None:
        self._lease_s = lease_s
        self._late_s = late_s
        self._seen: dict[str, tuple[int, float]] = {}
        self._observed_s = float("-inf")

    def observe(self, counts: dict[str, int], now_s: float) -> dict[str, int]:
        """Add an observation of all counters. Returns the dead workers, each with its counter."""
        if now_s - self._observed_s > self._late_s:
            self.restart()
        self._observed_s = now_s
        known = self._seen
        moved = {worker: (count, now_s) for worker, count in counts.items() if known.get(worker, (None,))[0] != count}
        self._seen = {worker: moved.get(worker) or known[worker] for worker in counts}
        return {worker: count for worker, (count, since_s) in self._seen.items() if now_s - since_s >= self._lease_s}

    def restart(self) -> None:
        """Restart the series after a failed observation."""
        self._seen.clear()


class OwnHeartbeat:
    """Whether this worker's own counter stands still. Then Redis answers reads and refuses writes, for lack of replicas
    for instance, and no worker could send heartbeats."""

    def __init__(self, lease_s: float) -> None:
        self._still_s = lease_s / 2  # it moves three times in a lease
        self._count: int | None = None
        self._moved_s = float("-inf")

    def stands(self, count: int | None, now_s: float) -> bool:
        """Add an observation of the counter; None: it was never sent, or was lost."""
        if count != self._count:
            self._count, self._moved_s = count, now_s
        return count is not None and now_s - self._moved_s > self._still_s


class Reaper:
    """Observes the other workers while this one runs."""

    def __init__(self, leases: Leases, presence: Presence, outage: Outage, worker_id: str, lease_s: float) -> None:
        self._leases = leases
        self._presence = presence
        self._outage = outage
        self._worker_id = worker_id
        self._lease_s = lease_s
        self._every_s = min(max(lease_s / 25, 0.05), 0.4)
        self._detector = FailureDetector(lease_s, late_s=lease_s / 4)
        self._closed = ClosedConnections(GRACE_SECONDS)
        self._own = OwnHeartbeat(lease_s)
        self._swept_s = 0.0

    async def run(self) -> None:
        """Observe until cancelled."""
        self._swept_s = asyncio.get_running_loop().time()
        await repeat("reaper", self._step, outage=self._outage, longest_pause_s=self._every_s)

    async def _step(self) -> float:
        """Observe once, and sweep once per lease. Returns the seconds until the next observation."""
        try:
            await self._observe()
            now_s = asyncio.get_running_loop().time()
            if now_s - self._swept_s >= self._lease_s:
                await self._leases.sweep()
                if wrong := await self._leases.recount():
                    log.warning("counts of tenants were wrong", counts=wrong)
                self._swept_s = now_s
        except Exception:
            self._restart()
            raise
        return self._every_s

    def _restart(self) -> None:
        self._detector.restart()
        self._closed.restart()

    async def _observe(self) -> None:
        seen, now_s = await self._presence.observe(), asyncio.get_running_loop().time()
        if seen.mistaken:
            measures.add(MISTAKEN)
            log.warning("this worker was found dead, since its connection was closed", worker_id=self._worker_id)
        if self._own.stands(seen.counts.pop(self._worker_id, None), now_s):
            self._restart()
        dead, closed = self._detector.observe(seen.counts, now_s), self._closed.observe(seen, now_s)
        for worker, count in (closed | dead).items():
            await self._take_over(worker, count, sign="heartbeat" if worker in dead else "connection")

    async def _take_over(self, worker: str, count: int, sign: str) -> None:
        """Take over the entries of a dead worker. `sign`: what stood still, or was closed."""
        jobs = await self._leases.take_over(worker, count, guess_s=self._lease_s if sign == "connection" else 0)
        if jobs is not None:
            measures.add(DEAD_WORKERS)
            measures.add(TAKEOVERS, amount=jobs)
            log.warning("worker is dead", worker_id=worker, jobs=jobs, sign=sign)
