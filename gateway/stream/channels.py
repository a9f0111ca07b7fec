"""The channels of a tailer: which sessions have viewers, and the delivery of what was read to the live ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from holdfast.gateway.stream.batch import batches
from holdfast.gateway.stream.channel import Channel, LiveViewer
from holdfast.gateway.stream.counters import Counters
from holdfast.shared.ids import ORIGIN, EventId
from holdfast.shared.keyring import Keyring
from holdfast.shared.keys import log_key
from holdfast.shared.log.entries import following
from holdfast.shared.log.sealed_entries import Reply
from holdfast.shared.redis.errors import RedisError

RECHECK_SLICES = 20


class Channels(ABC):
    """All channels of one log server or cluster. All methods return immediately and are called from the event loop.

    A subclass reads the channels. At most one read of a channel is under way at a time."""

    def __init__(self, counters: Counters, keyring: Keyring, recheck_s: float) -> None:
        self._keyring = keyring
        self._counters = counters
        self._recheck_s = recheck_s / RECHECK_SLICES
        self.channels: dict[bytes, Channel] = {}
        self._unchecked: Iterator[Channel] = iter(())

    @property
    @abstractmethod
    def connected(self) -> bool:
        """Whether all channels can be read."""

    @abstractmethod
    async def run(self) -> None:
        """Stay connected, until cancelled."""

    @abstractmethod
    def _schedule_read(self, channel: Channel) -> None:
        """Read the channel soon, if it has live viewers."""

    @abstractmethod
    def _forget(self, channel: Channel) -> None:
        """Cancel a scheduled read."""

    @abstractmethod
    def _check_position(self, channel: Channel, position: EventId) -> None:
        """Check that the position still exists, after an invalidation without new events: it may be trimmed or lost.

        Calls `_on_position_read` with the reply."""

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
            self._forget(channel)

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

    def _on_position_read(self, channel: Channel, position: EventId, reply: Any) -> None:
        if isinstance(reply, RedisError):
            channel.changed = True  # the next read asks again
        elif not reply and channel.position == position:
            self._fall_behind(channel)

    def _fall_behind(self, channel: Channel) -> None:
        """Let all live viewers read the log from their own cursors, after the chain of ids broke."""
        for viewer in tuple(channel.live):
            viewer.fall_behind()
