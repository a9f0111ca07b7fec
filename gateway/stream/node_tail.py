"""Reads the logs that one master of a Redis Cluster owns, over one tracked connection."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import Any, Protocol

import structlog
from holdfast.gateway.stream.channel import Channel
from holdfast.gateway.stream.tailer import FIRST_RETRY_S, LAST_RETRY_S, READ_BYTES, READ_EVENTS, READ_KEYS
from holdfast.shared.background import repeat
from holdfast.shared.redis.connection import Argument, OnReply, RedisConnection
from holdfast.shared.redis.errors import RedisError

logger = structlog.get_logger()

ASKING = b"*1\r\n$6\r\nASKING\r\n"
PAUSE_S = 0.1  # of a node that is loading, or whose cluster is down


class Readings(Protocol):
    """What a tail needs of the tailer of its cluster."""

    def invalidated_by(self, tail: NodeTail, keys: list[bytes] | None) -> None:
        """These keys, or all, changed on the tail's node and are no longer tracked there."""

    def read_by(self, tail: NodeTail, channel: Channel, count: int, reply: Any) -> None:
        """A read of at most `count` entries of a channel ended; `reply` may be a RedisError. Takes the channel out of
        the tail's `reading`, and ends its outage after a success."""

    def postponed(self, channel: Channel) -> None:
        """Another node reads the channel: it is to be scheduled when that read has ended."""

    def opened(self, tail: NodeTail, *, again: bool) -> None:
        """The tail is connected, `again` after an outage: nothing is tracked on its node."""

    def failed(self, tail: NodeTail) -> None:
        """The tail lost its connection, or could not connect."""


class NodeTail:
    """The tracked connection to one node, whose Listener it is. `dirty`: the channels to read there, one write of reads
    at a time. `reading`: those whose read is in flight there. `asked`: the slots of which it may track keys although
    another node owns them. `in_outage`: since the connection was lost, until a read succeeds."""

    def __init__(self, place: str, url: str, readings: Readings, deadline_s: float) -> None:
        self.place = place
        self.dirty: dict[Channel, None] = {}
        self.reading: set[Channel] = set()
        self.asked: set[int] = set()
        self.in_outage = False
        self.invalidated = partial(readings.invalidated_by, self)  # of Listener
        self._url = url
        self._readings = readings
        self._deadline_s = deadline_s
        self._connection: RedisConnection | None = None
        self._lost = asyncio.Event()
        self._due = False
        self._paused = False
        self._retry_s = FIRST_RETRY_S

    @property
    def connected(self) -> bool:
        return self._connection is not None

    async def run(self) -> None:
        """Stay connected, until cancelled."""
        await repeat("tailer", self._stay_connected)

    def lost(self) -> None:
        self._connection = None
        self._lost.set()

    def add(self, channel: Channel) -> None:
        """Read the channel soon."""
        self.dirty[channel] = None
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self.drained)

    def add_later(self, channel: Channel) -> None:
        """Read the channel after PAUSE_S, and no other of this node before."""
        self.dirty[channel] = None
        if not self._paused:
            self._paused = True
            asyncio.get_running_loop().call_later(PAUSE_S, self._resume)

    def call(self, on_reply: OnReply, *command: Argument) -> None:
        """Send a command, unless the tail is not connected. `on_reply` gets its reply."""
        if self._connection is not None:
            self._connection.call(on_reply, *command)

    def read_asking(self, channel: Channel, count: int) -> bool:
        """Read a channel whose slot moves to this node, once. Returns False while the tail is not connected."""
        if self._connection is None:
            return False
        self.reading.add(channel)
        self.asked.add(channel.slot)
        on_reply = partial(self._readings.read_by, self, channel, count)
        self._connection.call_each([_ignore, on_reply], [ASKING, _question(channel, _up_to(count))])
        return True

    def drained(self) -> None:
        """Read the changed channels, unless reads are in flight: this is called again after the last reply."""
        self._due = False
        if self._connection is None or self.reading or self._paused or not self.dirty:
            return
        chosen, expected = self._choose()
        while self.dirty and not chosen:  # all of them were postponed
            chosen, expected = self._choose()
        if chosen:
            self._read(self._connection, chosen, min(READ_EVENTS, READ_BYTES // expected or 1))

    def _choose(self) -> tuple[list[Channel], int]:
        """Take the first dirty channels off, as many as should fit in READ_BYTES (at least one), to be read from
        their positions. One whose read is under way on another node is postponed. Returns them with the bytes that
        an event of each would take."""
        chosen: list[Channel] = []
        expected = 0
        for channel in tuple(islice(self.dirty, READ_KEYS)):
            if expected + channel.event_bytes > READ_BYTES and chosen:
                break
            del self.dirty[channel]
            if channel.reading is not None:
                self._readings.postponed(channel)
                continue
            expected += channel.event_bytes
            channel.reading = channel.position
            chosen.append(channel)
        return chosen, expected

    def _read(self, connection: RedisConnection, channels: Sequence[Channel], count: int) -> None:
        rest, on_read = _up_to(count), self._readings.read_by
        self.reading.update(channels)
        connection.call_each(
            [partial(on_read, self, channel, count) for channel in channels],
            [_question(channel, rest) for channel in channels],
        )

    def _resume(self) -> None:
        self._paused = False
        self.drained()

    async def _stay_connected(self) -> float:
        """Connect, and wait until the connection is lost. Returns the seconds until the next attempt."""
        retry_s, self._retry_s = self._retry_s, min(2 * self._retry_s, LAST_RETRY_S)
        try:
            connection = await RedisConnection.open(self._url, self._deadline_s, listener=self)
        except RedisError as error:
            self.log_outage(f"{type(error).__name__}: {error}")
        else:
            try:
                self._begin(connection)
                await self._lost.wait()
            finally:
                connection.abort()
            self.log_outage("the connection was lost")
            retry_s, self._retry_s = FIRST_RETRY_S, 2 * FIRST_RETRY_S
        self._readings.failed(self)
        return retry_s * random.uniform(0.5, 1)  # noqa: S311 - jitter, not a secret

    def _begin(self, connection: RedisConnection) -> None:
        self._lost.clear()
        if not connection.alive:
            self._lost.set()
            return
        self._connection = connection
        again = self.in_outage
        if again:
            self.log_recovery()
        self._readings.opened(self, again=again)

    def log_outage(self, reason: str) -> None:
        """Log the start of an outage once, not at every attempt."""
        if not self.in_outage:
            self.in_outage = True
            logger.warning("log server unavailable; its live streams are paused", node=self.place, reason=reason)

    def log_recovery(self) -> None:
        """Log the end of an outage."""
        self.in_outage = False
        logger.info("log server available again", node=self.place)


def _question(channel: Channel, rest: bytes) -> bytes:
    """Return the command that reads what follows the position that is being read, as Redis takes it: hiredis would take
    more than twice as long to pack it. `rest`: its other arguments, as of `_up_to`."""
    key = channel.key
    after = b"(%d-%d" % channel.reading  # type: ignore[str-format]
    return b"*6\r\n$6\r\nXRANGE\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n%b" % (len(key), key, len(after), after, rest)


def _up_to(count: int) -> bytes:
    """Return the arguments that read up to the end of the log, at most `count` entries."""
    digits = b"%d" % count
    return b"$1\r\n+\r\n$5\r\nCOUNT\r\n$%d\r\n%b\r\n" % (len(digits), digits)


def _ignore(_reply: Any) -> None:
    """Drop the reply to ASKING: that to the command after it says whether it was taken."""
