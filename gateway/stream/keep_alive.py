"""One timer for the pings and deadlines of all viewers. It knows nothing of Redis, so pings go on without it."""

from __future__ import annotations

import asyncio

from holdfast.gateway.stream.counters import Counters
from holdfast.gateway.stream.viewer import Viewer
from holdfast.shared.background import repeat

BUCKETS = 20


class KeepAlive:
    """Pings each viewer every `ping_s`, a bucket of them at a time, and drops those that take nothing for too long."""

    def __init__(self, ping_s: float, send_deadline_s: float, counters: Counters) -> None:
        self._interval_s = ping_s / BUCKETS
        self._deadline_s = send_deadline_s
        self._buckets: list[set[Viewer]] = [set() for _ in range(BUCKETS)]
        self._next_bucket = 0
        self._current_bucket = 0
        self._stalled: set[Viewer] = set()
        self._counters = counters

    def add(self, viewer: Viewer) -> None:
        viewer.bucket = self._next_bucket
        self._buckets[self._next_bucket].add(viewer)
        self._next_bucket = (self._next_bucket + 1) % BUCKETS

    def remove(self, viewer: Viewer) -> None:
        self._buckets[viewer.bucket].discard(viewer)
        self._stalled.discard(viewer)

    def watch(self, viewer: Viewer) -> None:
        """A write waits for this viewer's client: its deadline runs."""
        self._stalled.add(viewer)

    async def run(self) -> None:
        """Beat, until cancelled."""
        await repeat("keep-alive", self._tick)

    async def _tick(self) -> float:
        """Ping the next bucket. Returns the seconds until the one after it."""
        bucket, self._current_bucket = self._buckets[self._current_bucket], (self._current_bucket + 1) % BUCKETS
        for viewer in tuple(bucket):
            viewer.ping()
        self._drop_stalled(asyncio.get_running_loop().time() - self._deadline_s)
        return self._interval_s

    def _drop_stalled(self, latest: float) -> None:
        for viewer in tuple(self._stalled):
            since = viewer.transport.blocked_since
            if since is None:
                self._stalled.discard(viewer)
            elif since <= latest:
                self._stalled.discard(viewer)
                self._counters.slow_closed += 1
                viewer.transport.abort()
