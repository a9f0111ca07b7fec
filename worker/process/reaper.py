"""Detect dead workers and make their queue entries visible again, without comparing clocks of different machines.

A worker is dead when its heartbeat counter has not moved through an unbroken series of observations that spans the
lease on this process's monotonic clock. A failed or late observation restarts the series: while Redis was unavailable,
no worker could send heartbeats.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import structlog
from holdfast.shared.background import repeat
from holdfast.shared.leases import Leases
from holdfast.worker.process.outage import Outage

log = structlog.get_logger()


class Observation(NamedTuple):
    """A worker's heartbeat counter, and when this series first observed that value, in seconds of the monotonic
    clock."""

    beats: int
    since_s: float


class FailureDetector:
    """Decides from a series of observed heartbeat counters which workers are dead. Free of I/O: the caller passes the
    time."""

    def __init__(self, lease_s: float, late_s: float) -> None:
        self._lease_s = lease_s
        self._late_s = late_s
        self._seen: dict[str, Observation] = {}
        self._observed_s = float("-inf")

    def observe(self, counts: dict[str, int], now_s: float) -> dict[str, int]:
        """Add an observation of all counters. Returns the dead workers, each with its counter."""
        if now_s - self._observed_s > self._late_s:
            self.restart()
        self._observed_s = now_s
        self._seen = {worker: self._observation(worker, count, now_s) for worker, count in counts.items()}
        return {worker: seen.beats for worker, seen in self._seen.items() if now_s - seen.since_s >= self._lease_s}

    def restart(self) -> None:
        """Restart the series after a failed observation."""
        self._seen.clear()

    def _observation(self, worker: str, count: int, now_s: float) -> Observation:
        seen = self._seen.get(worker)
        return seen if seen is not None and seen.beats == count else Observation(count, now_s)


class Reaper:
    """Observes the other workers while this one runs."""

    def __init__(self, leases: Leases, outage: Outage, worker_id: str, lease_s: float) -> None:
        self._leases = leases
        self._outage = outage
        self._worker_id = worker_id
        self._lease_s = lease_s
        self._every_s = min(max(lease_s / 25, 0.05), 0.4)
        self._detector = FailureDetector(lease_s, late_s=lease_s / 4)
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
                self._swept_s = now_s
        except Exception:
            self._detector.restart()
            raise
        return self._every_s

    async def _observe(self) -> None:
        counts = await self._leases.workers()
        counts.pop(self._worker_id, None)
        for worker, count in self._detector.observe(counts, asyncio.get_running_loop().time()).items():
            jobs = await self._leases.take_over(worker, count)
            if jobs is not None:
                log.warning("worker is dead", worker_id=worker, jobs=jobs)
