"""Pings and send deadlines of all viewers, on one timer. Independent of Redis, so pings continue during an outage."""

from __future__ import annotations

import asyncio

from holdfast.gateway.stream.counters import Counters
from holdfast.gateway.stream.viewer import Viewer
from holdfast.shared.background import repeat

BUCKETS = 20


class KeepAlive:
    """Pings each viewer every `ping_s` seconds, one bucket of viewers per tick, and drops those blocked for longer than
    `send_deadline_s`."""

    def __init__(self, ping_s: float, send_deadline_s: float, counters: Counters) -> None:
        self._interval_s = ping_s / BUCKETS
        self._deadline_s = send_deadline_s
        self.buckets: list[set[Viewer]] = [set() for _ in range(BUCKETS)]
        self._next_bucket = 0
        self._current_bucket = 0
        self.stalled: set[Viewer] = set()
        self._counters = counters

    def add(self, viewer: Viewer) -> None:
        viewer.bucket = self._next_bucket
        self.buckets[self._next_bucket].add(viewer)
        self._next_bucket = (self._next_bucket + 1) % BUCKETS

    def remove(self, viewer: Viewer) -> None:
        self.buckets[viewer.bucket].discard(viewer)
        self.stalled.discard(viewer)

    def watch(self, viewer: Viewer) -> None:
        """Start the send deadline of a viewer whose write is blocked."""
        self.stalled.add(viewer)

    async def run(self) -> None:
        """Run until cancelled."""
        await repeat("keep-alive", self._tick)

    async def _tick(self) -> float:
        """Ping one bucket and drop stalled viewers. Returns the seconds until the next tick."""
        bucket, self._current_bucket = self.buckets[self._current_bucket], (self._current_bucket + 1) % BUCKETS
        for viewer in tuple(bucket):
            viewer.ping()
        self._drop_stalled(asyncio.get_running_loop().time() - self._deadline_s)
        return self._interval_s

    def _drop_stalled(self, latest: float) -> None:
        for viewer in tuple(self.stalled):
            since = viewer.transport.blocked_since
            if since is None:
                self.stalled.discard(viewer)
            elif since <= latest:
                self.stalled.discard(viewer)
                self._counters.slow_closed += 1
                viewer.transport.abort()
