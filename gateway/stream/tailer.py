"""One connection per process hears which logs changed, reads those together, and hands each batch to its viewers.

Redis tells once that a watched key changed; reading it watches it again. While a read is under way further notices
gather, so the work grows with what changes and not with what is watched. Each read is held to the chain of ids; where
it breaks, the viewers read the log by their own cursor, and that reading says what is missing.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, Protocol

import structlog
from holdfast.gateway.stream.counters import Counters
from holdfast.gateway.stream.framing import Batch, batches
from holdfast.shared.background import repeat
from holdfast.shared.entries import following
from holdfast.shared.ids import ORIGIN, EventId
from holdfast.shared.keys import log_key
from holdfast.shared.redis import ConnectionLost, RedisError
from holdfast.shared.redis_connection import RedisConnection

logger = structlog.get_logger()

READ_KEYS = 128
READ_EVENTS = 256
READ_BYTES = 512 * 1024
EVENT_BYTES = 512  # of a log whose events nobody has seen yet
TAIL_BYTES = 256 * 1024
FIRST_RETRY_S = 0.05
LAST_RETRY_S = 1.0
RECHECK_SLICES = 20


class LiveViewer(Protocol):
    """A viewer, as far as the tailer sees it."""

    cursor: EventId

    def deliver(self, batch: Batch) -> None:
        """Take what comes next; the viewer skips what it has, and leaves when the batch does not fit."""

    def fall_behind(self) -> None:
        """Leave, and read the log by one's own cursor."""


class Channel:
    """One session that has viewers. `position` is the last id read for those that are live; None: nobody is.

    While some viewers are still `behind`, the last batches are kept, so that those can step in without a window."""

    __slots__ = (
        *("behind", "event_bytes", "key", "live", "changed", "position", "reading", "session_id"),
        *("tail", "tail_bytes"),
    )

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self.key = log_key(session_id).encode()
        self.live: set[LiveViewer] = set()
        self.behind = 0
        self.position: EventId | None = None
        self.reading: EventId | None = None
        self.changed = False
        self.event_bytes = EVENT_BYTES
        self.tail: deque[Batch] = deque()
        self.tail_bytes = 0

    def keep(self, batch: Batch) -> None:
        """Remember the batch, within bounds, for those who are behind."""
        self.tail.append(batch)
        self.tail_bytes += batch.size
        while self.tail_bytes > TAIL_BYTES:
            self.tail_bytes -= self.tail.popleft().size

    def update_estimate(self, batch: Batch) -> None:
        """Expect events as large as these: larger ones at once, smaller ones by and by."""
        seen, half = batch.size // len(batch.entries), self.event_bytes // 2
        self.event_bytes = seen if seen > half else half or 1

    def drop_tail(self) -> None:
        self.tail.clear()
        self.tail_bytes = 0

    def reaches(self, cursor: EventId) -> bool:
        """Whether a viewer with this cursor can go on from here."""
        if self.position is None or cursor >= self.position:
            return True
        return bool(self.tail) and self.tail[0].prev <= cursor


class Tailer:
    """All channels of a process. Everything but `run` is called from the event loop and returns at once."""

    def __init__(self, url: str, counters: Counters, *, recheck_s: float, deadline_s: float) -> None:
        self._url = url
        self._counters = counters
        self._recheck_s = recheck_s / RECHECK_SLICES
        self._deadline_s = deadline_s
        self._channels: dict[bytes, Channel] = {}
        self._dirty: dict[Channel, None] = {}
        self._connection: RedisConnection | None = None
        self._in_flight = 0
        self._read_due = False
        self._in_outage = False
        self._lost = asyncio.Event()
        self._retry_s = FIRST_RETRY_S
        self._unchecked: Iterator[Channel] = iter(())

    @property
    def connected(self) -> bool:
        return self._connection is not None

    def watch(self, session_id: str) -> Channel:
        """The session's channel, for one viewer more, who is behind until it joins."""
        channel = self._channels.get(log_key(session_id).encode())
        if channel is None:
            channel = Channel(session_id)
            self._channels[channel.key] = channel
        channel.behind += 1
        return channel

    def join(self, channel: Channel, viewer: LiveViewer) -> bool:
        """Let a viewer that has read up to its cursor go on live. False: the channel is too far ahead, read on."""
        if not channel.live:
            channel.position = viewer.cursor
            channel.changed = True
            self._schedule_read(channel)
        elif not channel.reaches(viewer.cursor):
            return False
        channel.behind -= 1
        channel.live.add(viewer)
        for batch in tuple(channel.tail):
            viewer.deliver(batch)
        if not channel.behind:
            channel.drop_tail()
        return True

    def leave(self, channel: Channel, viewer: LiveViewer) -> None:
        """A live viewer falls behind."""
        channel.live.discard(viewer)
        channel.behind += 1
        self._pause_if_unused(channel)

    def unwatch(self, channel: Channel, viewer: LiveViewer) -> None:
        """A viewer goes away."""
        if viewer in channel.live:
            channel.live.discard(viewer)
            self._pause_if_unused(channel)
        else:
            channel.behind -= 1
        if not channel.behind:
            channel.drop_tail()
        if not channel.live and not channel.behind:
            self._channels.pop(channel.key, None)

    async def run(self) -> None:
        """Stay connected, until cancelled."""
        recheck = asyncio.create_task(repeat("recheck", self._recheck))
        try:
            await repeat("tailer", self._stay_connected)
        finally:
            recheck.cancel()

    def invalidated(self, keys: list[bytes] | None) -> None:
        """Redis: these keys changed, or all of them."""
        for key in self._channels if keys is None else keys:
            channel = self._channels.get(key)
            if channel is not None:
                channel.changed = True
                # Notices and replies come in order: one that precedes the reply was seen by that read already.
                if channel.reading is None and channel.position is not None:
                    self._dirty[channel] = None  # and `drained` follows

    def drained(self) -> None:
        """All that was received is handed out: read what changed."""
        self._read_dirty()

    def lost(self) -> None:
        """The connection is gone."""
        self._connection = None
        self._lost.set()

    async def _stay_connected(self) -> float:
        """Connect and stay connected while that is possible. Returns the seconds until the next attempt."""
        retry_s, self._retry_s = self._retry_s, min(2 * self._retry_s, LAST_RETRY_S)
        try:
            connection = await RedisConnection.open(self._url, self._deadline_s, listener=self)
        except RedisError as error:
            self._log_outage(f"{type(error).__name__}: {error}")
        else:
            try:
                self._begin(connection)
                await self._lost.wait()
            finally:
                connection.abort()
            self._log_outage("the connection was lost")
            retry_s, self._retry_s = FIRST_RETRY_S, 2 * FIRST_RETRY_S
        return retry_s * random.uniform(0.5, 1)  # noqa: S311 - spreads, hides nothing

    def _log_outage(self, reason: str) -> None:
        """Once, not at every try."""
        if not self._in_outage:
            self._in_outage = True
            logger.warning("the log's Redis is away", reason=reason)

    def _begin(self, connection: RedisConnection) -> None:
        """Watch and read everything again: nothing is known about the time in between."""
        self._lost.clear()
        if not connection.alive:
            self._lost.set()
            return
        if self._in_outage:
            self._counters.reconnects += 1
            self._in_outage = False
            logger.info("the log's Redis is back")
        self._connection = connection
        self._in_flight = 0
        for channel in self._channels.values():
            channel.reading = None
            channel.changed = True
            self._schedule_read(channel)

    async def _recheck(self) -> float:
        """The net under the notices: every so often each channel is read without one, a slice of them at a time."""
        for channel in self._slice():
            if channel.position is not None:
                channel.changed = True
                self._schedule_read(channel)
        return self._recheck_s

    def _slice(self) -> Sequence[Channel]:
        size = len(self._channels) // RECHECK_SLICES + 1
        taken = list(islice(self._unchecked, size))
        if not taken:
            self._unchecked = iter(list(self._channels.values()))
        return taken

    def _pause_if_unused(self, channel: Channel) -> None:
        """Nothing is read for a channel that nobody is live on."""
        if not channel.live:
            channel.position = None
            channel.drop_tail()
            self._dirty.pop(channel, None)

    def _schedule_read(self, channel: Channel) -> None:
        if channel.position is None:
            return
        self._dirty[channel] = None
        if not self._read_due:
            self._read_due = True
            asyncio.get_running_loop().call_soon(self._read_dirty)

    def _read_dirty(self) -> None:
        """Read what changed, unless a read is under way: its end comes back here."""
        self._read_due = False
        if self._connection is None or self._in_flight or not self._dirty:
            return
        self._read(self._connection, tuple(islice(self._dirty, READ_KEYS)))

    def _read(self, connection: RedisConnection, channels: Sequence[Channel]) -> None:
        """Ask for events of the leading channels, so many as are expected to take READ_BYTES together; of one at least.
        The others are left to the next read."""
        chosen: list[Channel] = []
        ids: list[bytes] = []
        expected = 0
        for channel in channels:
            if expected + channel.event_bytes > READ_BYTES and chosen:
                break
            expected += channel.event_bytes
            channel.reading = channel.position
            chosen.append(channel)
            ids.append(b"%d-%d" % channel.position)  # type: ignore[str-format]  # the dirty have one
            self._dirty.pop(channel, None)
        keys = [channel.key for channel in chosen]
        count = min(READ_EVENTS, READ_BYTES // expected or 1)
        self._in_flight += 1
        connection.call(partial(self._on_read, chosen, count), "XREAD", "COUNT", count, "STREAMS", *keys, *ids)

    def _on_read(self, channels: Sequence[Channel], count: int, reply: Any) -> None:
        if isinstance(reply, ConnectionLost):
            return  # whatever is on its way on the next connection is counted anew
        self._in_flight -= 1
        if isinstance(reply, RedisError):
            self._on_read_error(channels, reply)
            return
        found: dict[bytes, list[Any]] = reply or {}
        for channel in channels:
            self._on_channel_read(channel, count, found.get(channel.key))

    def _on_read_error(self, channels: Sequence[Channel], error: Exception) -> None:
        """One key that cannot be read refuses the whole command: read each by itself."""
        if len(channels) == 1:
            channel = channels[0]
            channel.reading = None
            logger.warning("a log cannot be read", session_id=channel.session_id, error=str(error))
            self._fall_behind(channel)
        elif self._connection is not None:
            for channel in channels:
                channel.reading = None
                if channel.position is not None:  # somebody is still there
                    self._read(self._connection, [channel])

    def _on_channel_read(self, channel: Channel, count: int, found: list[Any] | None) -> None:
        asked, channel.reading = channel.reading, None
        if asked is None or channel.position != asked:
            self._schedule_read(channel)
            return
        changed, channel.changed = channel.changed, False
        if found:
            self._advance(channel, asked, found)
            if len(found) >= count:
                self._schedule_read(channel)
        elif changed and asked != ORIGIN:
            self._check_position(channel, asked)

    def _advance(self, channel: Channel, position: EventId, found: list[Any]) -> None:
        entries = following(position, found)
        for batch in batches(position, entries) if entries else ():
            channel.position = batch.last
            channel.update_estimate(batch)
            if channel.behind:
                channel.keep(batch)
            for viewer in tuple(channel.live):
                viewer.deliver(batch)
        if len(entries) < len(found):
            self._fall_behind(channel)

    def _check_position(self, channel: Channel, position: EventId) -> None:
        """A notice without anything new: the position itself may be gone, trimmed or lost or expired."""
        if self._connection is not None:
            verdict = partial(self._on_position_read, channel, position)
            self._connection.call(verdict, "XRANGE", channel.key, str(position), str(position))

    def _on_position_read(self, channel: Channel, position: EventId, reply: Any) -> None:
        if not reply and channel.position == position:
            self._fall_behind(channel)

    def _fall_behind(self, channel: Channel) -> None:
        """The chain broke: all viewers find out by their own cursors."""
        for viewer in tuple(channel.live):
            viewer.fall_behind()
