"""All event streams of one gateway process: who is connected, and what serves them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from holdfast.gateway.stream.catch_up import CatchUp
from holdfast.gateway.stream.counters import Counters
from holdfast.gateway.stream.keep_alive import KeepAlive
from holdfast.gateway.stream.retry import retry_ms
from holdfast.gateway.stream.tailer import Tailer
from holdfast.gateway.stream.transport import StreamTransport
from holdfast.gateway.stream.viewer import StreamRequest, Viewer
from holdfast.shared.event_log import EventLog, Page
from holdfast.shared.sessions import Sessions

__all__ = ["Counters", "StreamHub", "StreamLimits"]


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """Bounds of one process."""

    max_viewers: int = 20_000
    send_deadline_s: float = 20
    ping_s: float = 10
    recheck_s: float = 5
    redis_deadline_s: float = 5


class StreamHub:
    """Viewers come by `attach` and go with their transport; in between the hub keeps them fed, pinged and bounded."""

    def __init__(
        self, log_url: str, event_log: EventLog, sessions: Sessions, limits: StreamLimits | None = None
    ) -> None:
        self._limits = limits or StreamLimits()
        self.counters = Counters()
        self.draining = False
        self._viewers: set[Viewer] = set()
        self._tailer = Tailer(
            log_url,
            self.counters,
            recheck_s=self._limits.recheck_s,
            deadline_s=self._limits.redis_deadline_s,
        )
        self._catch_up = CatchUp(event_log, sessions, self._join, self.counters)
        self._keep_alive = KeepAlive(self._limits.ping_s, self._limits.send_deadline_s, self.counters)
        self._tasks: list[asyncio.Task[None]] = []
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def full(self) -> bool:
        """Whether new streams are refused."""
        return self.draining or len(self._viewers) >= self._limits.max_viewers

    @property
    def connected(self) -> bool:
        """Whether the connection that tails the logs is up."""
        return self._tailer.connected

    def start(self) -> None:
        """Begin, in a running loop; Redis need not be there yet."""
        self._tasks = [asyncio.create_task(part.run()) for part in (self._tailer, self._keep_alive)]

    async def close(self) -> None:
        """End every stream now, and stop."""
        await self.drain(0)
        await self._catch_up.close()
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task

    async def drain(self, grace_s: float = 5) -> None:
        """End every stream at an event boundary; one whose client takes nothing within the grace time is dropped."""
        self.end_all()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._empty.wait()
        for viewer in tuple(self._viewers):
            if not viewer.ended or viewer.blocked:
                viewer.transport.abort()

    def end_all(self) -> None:
        """Refuse what comes from now on, and tell every viewer when to come again."""
        if self.draining:
            return
        self.draining = True
        for viewer in tuple(self._viewers):
            _end_early(viewer)

    def attach(self, request: StreamRequest, transport: StreamTransport, first: Page | None = None) -> Viewer:
        """Take a viewer in: watch its session first, then let it catch up. `first`: a page that it came with."""
        viewer = Viewer(self, request, transport, self._tailer.watch(request.session_id))
        transport.on_gone = partial(self._detach, viewer)
        transport.on_shutdown = self.end_all
        self._viewers.add(viewer)
        self._empty.clear()
        self._keep_alive.add(viewer)
        self.counters.viewers += 1
        self.counters.streams += 1
        self._catch_up.begin(viewer, first)
        if self.draining:
            _end_early(viewer)
        return viewer

    def session_deleted(self, session_id: str) -> None:
        """Send the session's viewers nothing but `session.deleted` from now on."""
        for viewer in tuple(self._viewers):
            if viewer.request.session_id == session_id:
                viewer.end_with_deletion()

    def _detach(self, viewer: Viewer) -> None:
        """The viewer's response is over, whoever ended it."""
        self._viewers.discard(viewer)
        self._keep_alive.remove(viewer)
        self._tailer.unwatch(viewer.channel, viewer)
        self.counters.viewers -= 1
        if not self._viewers:
            self._empty.set()

    def fell_behind(self, viewer: Viewer) -> None:
        self.counters.catch_ups += 1
        self._tailer.leave(viewer.channel, viewer)

    def catch_up(self, viewer: Viewer) -> None:
        self._catch_up.add(viewer)

    def stalled(self, viewer: Viewer) -> None:
        self._keep_alive.watch(viewer)

    def _join(self, viewer: Viewer) -> None:
        replay, viewer.replay = viewer.replay, None
        if not self._tailer.join(viewer.channel, viewer):
            viewer.replay = replay


def _end_early(viewer: Viewer) -> None:
    viewer.close_with(viewer.request.form.closing(retry_ms()))
