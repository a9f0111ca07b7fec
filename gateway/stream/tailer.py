"""Tails the logs of all sessions with viewers, over one connection per log server.

Redis sends one invalidation when a tracked key changes; reading the key tracks it again (Redis client-side caching).
Where a read does not continue the chain of ids, viewers read the log from their own cursors, which reports the gap.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import Any

import structlog
from holdfast.gateway.stream.channel import Channel
from holdfast.gateway.stream.channels import Channels
from holdfast.gateway.stream.counters import Counters
from holdfast.gateway.stream.polling import open_tail, poll_until
from holdfast.shared.background import repeat
from holdfast.shared.ids import EventId
from holdfast.shared.keyring import Keyring
from holdfast.shared.redis.connection import RedisConnection
from holdfast.shared.redis.errors import ConnectionLost, NoPermissionError, RedisError

logger = structlog.get_logger()

READ_KEYS = 128
READ_EVENTS = 256
READ_BYTES = 512 * 1024
FIRST_RETRY_S = 0.05
LAST_RETRY_S = 1.0


class Tailer(Channels):
    """Reads all channels of one log server. Of its reads one is in flight at a time."""

    def __init__(self, url: str, counters: Counters, keyring: Keyring, *, recheck_s: float, deadline_s: float) -> None:
        super().__init__(counters, keyring, recheck_s)
        self._url = url
        self._deadline_s = deadline_s
        self._dirty: dict[Channel, None] = {}
        self._connection: RedisConnection | None = None
        self._in_flight = 0
        self._read_due = False
        self._in_outage = False
        self._lost = asyncio.Event()
        self._retry_s = FIRST_RETRY_S

    @property
    def connected(self) -> bool:
        return self._connection is not None

    async def run(self) -> None:
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

    def _forget(self, channel: Channel) -> None:
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

    def _check_position(self, channel: Channel, position: EventId) -> None:
        if self._connection is not None:
            on_reply = partial(self._on_position_read, channel, position)
            self._connection.call(on_reply, "XRANGE", channel.key, str(position), str(position))
