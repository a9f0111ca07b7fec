"""Tails the logs of all sessions with viewers, over one connection per log server.

Redis sends one invalidation when a tracked key changes; reading the key tracks it again (Redis client-side caching).
Where a read does not continue the chain of ids, viewers read the log from their own cursors, which reports the gap.
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
from holdfast.gateway.stream.batch import Batch, batches
from holdfast.gateway.stream.counters import Counters
from holdfast.gateway.stream.polling import open_tail, poll_until
from holdfast.shared.background import repeat
from holdfast.shared.ids import ORIGIN, EventId
from holdfast.shared.keyring import Keyring
from holdfast.shared.keys import log_key
from holdfast.shared.log.entries import following
from holdfast.shared.log.sealed_entries import Reply
from holdfast.shared.redis.connection import RedisConnection
from holdfast.shared.redis.errors import ConnectionLost, NoPermissionError, RedisError

logger = structlog.get_logger()

READ_KEYS = 128
READ_EVENTS = 256
READ_BYTES = 512 * 1024
EVENT_BYTES = 512  # initial estimate of the size of a session's events
TAIL_BYTES = 256 * 1024
FIRST_RETRY_S = 0.05
LAST_RETRY_S = 1.0
RECHECK_SLICES = 20


class LiveViewer(Protocol):
    """What the tailer needs of a viewer."""

    cursor: EventId

    def deliver(self, batch: Batch) -> None:
        """Deliver the next batch. The viewer skips known events, and falls behind if the batch leaves a hole."""

    def fall_behind(self) -> None:
        """Stop live delivery and read the log from the viewer's own cursor."""


class Channel:
    """A session with viewers. `position` is the last id read for the live viewers; None: there are none.

    While viewers are `behind`, the newest batches are kept as `tail`, so that they can go live without missing events.
    `changed`: an invalidation arrived since the last read began."""

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
        """Keep the batch for viewers that are behind, at most TAIL_BYTES in all."""
        self.tail.append(batch)
        self.tail_bytes += batch.size
        while self.tail_bytes > TAIL_BYTES:
            self.tail_bytes -= self.tail.popleft().size

    def update_estimate(self, batch: Batch) -> None:
        """Update the expected size of an event: it rises immediately and at most halves per batch."""
        seen, half = batch.size // len(batch.entries), self.event_bytes // 2
        self.event_bytes = seen if seen > half else half or 1

    def drop_tail(self) -> None:
        self.tail.clear()
        self.tail_bytes = 0

    def reaches(self, cursor: EventId) -> bool:
        """Return whether a viewer with this cursor can go live from the position or the tail."""
        if self.position is None or cursor >= self.position:
            return True
        return bool(self.tail) and self.tail[0].prev <= cursor


class Tailer:
    """All channels of one log server. All methods except `run` return immediately and are called from the event loop.

    There are more than 20, since a channel's position, its changes and the one read in flight change together."""

    def __init__(self, url: str, counters: Counters, keyring: Keyring, *, recheck_s: float, deadline_s: float) -> None:
        self._url = url
        self._keyring = keyring
        self._counters = counters
        self._recheck_s = recheck_s / RECHECK_SLICES
        self._deadline_s = deadline_s
        self.channels: dict[bytes, Channel] = {}
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
        """Return the session's channel and count one more viewer, which is behind until it joins."""
        channel = self.channels.get(log_key(session_id).encode())
        if channel is None:
            channel = self.channels[log_key(session_id).encode()] = Channel(session_id)
        channel.behind += 1
        return channel

    def join(self, channel: Channel, viewer: LiveViewer) -> bool:
        """Make a viewer live that has read up to its cursor. Returns False when the channel is too far ahead of it."""
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
        """Count a live viewer as behind."""
        channel.live.discard(viewer)
        channel.behind += 1
        self._pause_if_unused(channel)

    def unwatch(self, channel: Channel, viewer: LiveViewer) -> None:
        """Remove a viewer."""
        if viewer in channel.live:
            channel.live.discard(viewer)
            self._pause_if_unused(channel)
        else:
            channel.behind -= 1
        if not channel.behind:
            channel.drop_tail()
        if not channel.live and not channel.behind:
            self.channels.pop(channel.key, None)

    async def run(self) -> None:
        """Stay connected, until cancelled."""
        recheck = asyncio.create_task(repeat("recheck", self._recheck))
        try:
            await repeat("tailer", self._stay_connected)
        finally:
            recheck.cancel()

    def invalidated(self, keys: list[bytes] | None) -> None:
        """Mark the channels of these keys, or all channels, as changed."""
        for key in self.channels if keys is None else keys:
            channel = self.channels.get(key)
            if channel is not None:
                channel.changed = True
                # Invalidations and replies are ordered: the pending read covers one that precedes its reply.
                if channel.reading is None and channel.position is not None:
                    self._dirty[channel] = None  # `drained` follows and reads it

    def lost(self) -> None:
        """Note the loss of the connection."""
        self._connection = None
        self._lost.set()

    async def _stay_connected(self) -> float:
        """Connect, and wait until the connection is lost. Returns the seconds until the next attempt."""
        retry_s, self._retry_s = self._retry_s, min(2 * self._retry_s, LAST_RETRY_S)
        try:
            connection = await open_tail(self._url, self._deadline_s, self)
        except RedisError as error:
            self._log_outage(f"{type(error).__name__}: {error}")
        else:
            try:
                self._begin(connection)
                if not connection.tracking:
                    await poll_until(self._lost, self._poll)
                await self._lost.wait()
            finally:
                connection.abort()
            self._log_outage("the connection was lost")
            retry_s, self._retry_s = FIRST_RETRY_S, 2 * FIRST_RETRY_S
        return retry_s * random.uniform(0.5, 1)  # noqa: S311 - jitter, not a secret

    def _poll(self) -> None:
        """Read all channels: this server does not tell which of them changed."""
        self._dirty.update((channel, None) for channel in self.channels.values() if channel.position is not None)
        self.drained()

    def _log_outage(self, reason: str) -> None:
        """Log the start of an outage once, not at every attempt."""
        if not self._in_outage:
            self._in_outage = True
            logger.warning("log server unavailable; live streams are paused", reason=reason)

    def _log_recovery(self) -> None:
        if self._in_outage:
            self._in_outage = False
            logger.info("log server available again")

    def _begin(self, connection: RedisConnection) -> None:
        """Read all channels again on the new connection: changes in between were not reported."""
        self._lost.clear()
        if not connection.alive:
            self._lost.set()
            return
        self._counters.reconnects += self._in_outage
        self._log_recovery()
        self._connection, self._in_flight = connection, 0
        for channel in self.channels.values():
            channel.reading = None
            channel.changed = True
            self._schedule_read(channel)

    async def _recheck(self) -> float:
        """Read a slice of the channels without an invalidation, as a safety net for lost ones."""
        for channel in self._slice():
            if channel.position is not None:
                channel.changed = True
                self._schedule_read(channel)
        return self._recheck_s

    def _slice(self) -> Sequence[Channel]:
        size = len(self.channels) // RECHECK_SLICES + 1
        taken = list(islice(self._unchecked, size))
        if not taken:
            self._unchecked = iter(list(self.channels.values()))
        return taken

    def _pause_if_unused(self, channel: Channel) -> None:
        """Stop reading a channel without live viewers."""
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
            asyncio.get_running_loop().call_soon(self.drained)

    def drained(self) -> None:
        """Read the changed channels, unless a read is in flight: this is called again after its reply."""
        self._read_due = False
        if self._connection is None or self._in_flight or not self._dirty:
            return
        self._read(self._connection, tuple(islice(self._dirty, READ_KEYS)))

    def _read(self, connection: RedisConnection, channels: Sequence[Channel]) -> None:
        """Read the first of these channels, as many as should fit in READ_BYTES (at least one); the rest stay dirty."""
        chosen: list[Channel] = []
        ids: list[bytes] = []
        expected = 0
        for channel in channels:
            if expected + channel.event_bytes > READ_BYTES and chosen:
                break
            expected += channel.event_bytes
            channel.reading = channel.position
            chosen.append(channel)
            ids.append(b"%d-%d" % channel.position)  # type: ignore[str-format]  # dirty channels have one
            self._dirty.pop(channel, None)
        keys = [channel.key for channel in chosen]
        count = min(READ_EVENTS, READ_BYTES // expected or 1)
        self._in_flight += 1
        connection.call(partial(self._on_read, chosen, count), "XREAD", "COUNT", count, "STREAMS", *keys, *ids)

    def _on_read(self, channels: Sequence[Channel], count: int, reply: Any) -> None:
        if isinstance(reply, ConnectionLost):
            return  # `_begin` resets the count of reads in flight
        self._in_flight -= 1
        if isinstance(reply, RedisError):
            self._on_read_error(channels, reply)
            return
        self._log_recovery()
        found: dict[bytes, list[Any]] = dict(reply or ())  # RESP2, without tracking: a list of pairs
        for channel in channels:
            self._on_channel_read(channel, count, found.get(channel.key))

    def _on_read_error(self, channels: Sequence[Channel], error: Exception) -> None:
        """Read each channel separately: one unreadable key makes Redis refuse the whole command. Without the right to
        read, wait for the next recheck."""
        for channel in channels:
            channel.reading = None
        if isinstance(error, NoPermissionError):
            self._log_outage(f"{type(error).__name__}: {error}")
        elif len(channels) == 1:
            session_id = channels[0].session_id
            logger.warning("reading a log failed; its viewers catch up", session_id=session_id, error=str(error))
            self._fall_behind(channels[0])
        elif self._connection is not None:
            for channel in channels:
                if channel.position is not None:  # it still has live viewers
                    self._read(self._connection, [channel])

    def _on_channel_read(self, channel: Channel, count: int, found: Reply | None) -> None:
        asked, channel.reading = channel.reading, None
        if asked is None or channel.position != asked:
            self._schedule_read(channel)
            return
        changed, channel.changed = channel.changed, False
        if found:
            keyring = self._keyring
            opened = keyring.opened_entries_now(channel.session_id, found) if keyring.on else found
            self._advance(channel, asked, opened)
            if len(found) >= count:
                self._schedule_read(channel)
        elif changed and asked != ORIGIN:
            self._check_position(channel, asked)

    def _advance(self, channel: Channel, position: EventId, found: Reply) -> None:
        entries = following(position, found)
        for batch in batches(position, entries) if entries else ():
            channel.position = batch.last
            channel.update_estimate(batch)
            if channel.behind:
                channel.keep(batch)
            for viewer in tuple(channel.live):
                viewer.deliver(batch)
            if batch.ending:
                self._counters.lag.sample(batch.entries[-1].body)
        if len(entries) < len(found):
            self._fall_behind(channel)

    def _check_position(self, channel: Channel, position: EventId) -> None:
        """Check that the position still exists, after an invalidation without new events: it may be trimmed or lost."""
        if self._connection is not None:
            on_reply = partial(self._on_position_read, channel, position)
            self._connection.call(on_reply, "XRANGE", channel.key, str(position), str(position))

    def _on_position_read(self, channel: Channel, position: EventId, reply: Any) -> None:
        if not reply and channel.position == position:
            self._fall_behind(channel)

    def _fall_behind(self, channel: Channel) -> None:
        """Let all live viewers read the log from their own cursors, after the chain of ids broke."""
        for viewer in tuple(channel.live):
            viewer.fall_behind()
