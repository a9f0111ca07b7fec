"""All event streams of one gateway process."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from holdfast.gateway.stream.access import Access
from holdfast.gateway.stream.catch_up import CatchUp
from holdfast.gateway.stream.channels import Channels
from holdfast.gateway.stream.cluster_tailer import ClusterTailer
from holdfast.gateway.stream.counters import Counters
from holdfast.gateway.stream.keep_alive import KeepAlive
from holdfast.gateway.stream.tailer import Tailer
from holdfast.gateway.stream.viewer import StreamRequest, Viewer
from holdfast.gateway.stream.viewer_counts import UNLIMITED, ViewerCounts, ViewerLimits
from holdfast.gateway.transports.transport import Transport
from holdfast.shared.log.event_log import EventLog, Page
from holdfast.shared.redis.log_connections import LogConnection, LogConnections
from holdfast.shared.sessions import Sessions


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """Limits of the streams of one process. Times are in seconds."""

    max_viewers: int = 20_000
    send_deadline_s: float = 20
    ping_s: float = 10
    viewers: ViewerLimits = UNLIMITED
    recheck_s: float = 5
    redis_deadline_s: float = 5


class StreamHub:
    """Registers viewers and drives delivery, keep-alives and limits. A viewer is removed when its transport closes."""

    def __init__(
        self,
        connections: LogConnections,
        event_log: EventLog,
        sessions: Sessions,
        limits: StreamLimits | None = None,
    ) -> None:
        self._limits = limits or StreamLimits()
        self.counters = Counters()
        self.draining = False
        self.viewers: set[Viewer] = set()
        self._viewer_counts = ViewerCounts(self._limits.viewers)
        self._connections = connections
        self.tailers = {server: self._new_tailer(server) for server in connections.servers}
        self._catch_up = CatchUp(event_log, sessions, self._join, connections.place_of, self.counters)
        self.keep_alive = KeepAlive(self._limits.ping_s, self._limits.send_deadline_s, self.counters)
        self.access = Access()
        self._tasks: list[asyncio.Task[None]] = []
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def full(self) -> bool:
        """Whether new streams are refused: the limit is reached or the process is stopping."""
        return self.draining or len(self.viewers) >= self._limits.max_viewers

    def admits(self, session_id: str, address: str) -> bool:
        """Return whether another viewer of this session from this address is accepted."""
        return not self.full and self._viewer_counts.allows(session_id, address)

    def start(self) -> None:
        """Start the background tasks in the running loop. Redis may be unavailable."""
        runs = [self.keep_alive.run(), self.access.run(), *(tailer.run() for tailer in self.tailers.values())]
        self._tasks = [asyncio.create_task(run) for run in runs]

    async def close(self) -> None:
        """Drop all streams and stop the background tasks."""
        await self.drain(0)
        await self._catch_up.close()
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task

    async def drain(self, grace_s: float = 5) -> None:
        """End all streams at an event boundary. Drop those whose clients have not taken the end within `grace_s`."""
        self.end_all()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._empty.wait()
        for viewer in tuple(self.viewers):
            if not viewer.ended or viewer.blocked:
                viewer.transport.abort()

    def end_all(self) -> None:
        """Refuse new streams, and end the open ones with a retry time."""
        if self.draining:
            return
        self.draining = True
        for viewer in tuple(self.viewers):
            viewer.end_early()

    def attach(self, request: StreamRequest, transport: Transport, first: Page | None = None) -> Viewer:
        """Register a viewer: watch its session first, then start catching up.

        Args:
            first: the page after the viewer's cursor, if it has been read already.
        """
        viewer = Viewer(self, request, transport, self._tailer_of(request).watch(request.session_id))
        transport.on_gone = partial(self._detach, viewer)
        transport.on_shutdown = self.end_all
        self.viewers.add(viewer)
        self._viewer_counts.add(request.session_id, request.address)
        self._empty.clear()
        self.keep_alive.add(viewer)
        self.counters.viewers += 1
        self.counters.streams += 1
        self._catch_up.begin(viewer, first)
        self.access.add(viewer)
        if self.draining:
            viewer.end_early()
        return viewer

    def session_deleted(self, session_id: str) -> None:
        """Send the session's viewers only `session.deleted` from now on."""
        for viewer in tuple(self.viewers):
            if viewer.request.session_id == session_id:
                viewer.end_with_deletion()

    def _detach(self, viewer: Viewer) -> None:
        """Remove a viewer whose connection has closed or whose response is complete."""
        self.viewers.discard(viewer)
        self.keep_alive.remove(viewer)
        self.access.remove(viewer)
        self._tailer_of(viewer.request).unwatch(viewer.channel, viewer)
        self._viewer_counts.remove(viewer.request.session_id, viewer.request.address)
        self.counters.viewers -= 1
        if not self.viewers:
            self._empty.set()

    def fell_behind(self, viewer: Viewer) -> None:
        self.counters.catch_ups += 1
        self._tailer_of(viewer.request).leave(viewer.channel, viewer)

    def catch_up(self, viewer: Viewer) -> None:
        self._catch_up.add(viewer)

    def stalled(self, viewer: Viewer) -> None:
        self.keep_alive.watch(viewer)

    def _join(self, viewer: Viewer) -> None:
        viewer.go_live(partial(self._tailer_of(viewer.request).join, viewer.channel, viewer))

    def _new_tailer(self, server: LogConnection) -> Channels:
        limits, counters, keyring = self._limits, self.counters, self._connections.keyring
        times = {"recheck_s": limits.recheck_s, "deadline_s": limits.redis_deadline_s}
        if server.cluster is None:
            return Tailer(server.url, counters, keyring, **times)
        return ClusterTailer(server.cluster, counters, keyring, **times)

    def _tailer_of(self, request: StreamRequest) -> Channels:
        return self.tailers[self._connections.connection_for(request.session_id)]
