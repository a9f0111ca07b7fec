"""The tailer: the tail of a channel, and the size of reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from holdfast.gateway.stream.batch import Batch
from holdfast.gateway.stream.channel import Channel
from holdfast.gateway.stream.counters import Counters
from holdfast.gateway.stream.tailer import READ_BYTES, READ_EVENTS, Tailer
from holdfast.shared.ids import ORIGIN, EventId
from holdfast.shared.keyring import Keyring
from holdfast.shared.log.event_log import Entry
from holdfast.shared.redis.errors import ResponseError

OFF = Keyring(None, {})


class Viewer:
    """A viewer that accepts every batch."""

    def __init__(self) -> None:
        self.cursor = ORIGIN

    def deliver(self, batch: Batch) -> None:
        self.cursor = batch.last

    def fall_behind(self) -> None:
        raise AssertionError("nothing here breaks the chain")


def batch(seq: int) -> Batch:
    prev = EventId(1, seq - 1) if seq > 1 else ORIGIN
    return Batch(prev, [Entry(EventId(1, seq), "status", "j1", b'{"type":"status"}', prev)])


def of_bytes(size: int) -> Batch:
    return Batch(EventId(1, 0), [Entry(EventId(1, 1), "data", "j1", b"x" * size, None)])


async def test_the_tail_is_dropped_when_the_last_viewer_behind_disconnects() -> None:
    """Otherwise up to 256 KiB per session would be kept while other viewers remain."""
    tailer = Tailer("redis://127.0.0.1:1", Counters(), OFF, recheck_s=3600, deadline_s=1)
    channel = tailer.watch("s")
    live, behind = Viewer(), Viewer()
    assert tailer.join(channel, live)
    assert tailer.watch("s") is channel
    channel.keep(batch(1))
    assert channel.tail_bytes > 0
    tailer.unwatch(channel, behind)
    assert (len(channel.tail), channel.tail_bytes) == (0, 0)
    assert channel.live == {live}


async def test_no_tail_is_kept_without_viewers_behind() -> None:
    tailer = Tailer("redis://127.0.0.1:1", Counters(), OFF, recheck_s=3600, deadline_s=1)
    channel, live = tailer.watch("s"), Viewer()
    assert tailer.join(channel, live)
    tailer._advance(channel, ORIGIN, [[b"1763683200123-1", [b"j1 job.started", b"{}", b"p", b"0-0"]]])
    assert live.cursor == EventId(1763683200123, 1)
    assert (len(channel.tail), channel.tail_bytes) == (0, 0)


async def test_a_check_of_the_position_that_is_refused_is_made_again() -> None:
    tailer = Tailer("redis://127.0.0.1:1", Counters(), OFF, recheck_s=3600, deadline_s=1)
    channel = tailer.watch("s")
    assert tailer.join(channel, Viewer())
    channel.changed = False
    tailer._on_position_read(channel, channel.position or ORIGIN, ResponseError("LOADING"))
    assert channel.changed


class Connection:
    """A connection whose replies the test provides."""

    alive = True

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.replies: list[Callable[[Any], None]] = []

    def call(self, on_reply: Callable[[Any], None], *command: Any) -> None:
        self.asked.append(command)
        self.replies.append(on_reply)

    @property
    def count(self) -> int:
        """The COUNT of the last read."""
        return int(self.asked[-1][2])

    @property
    def keys(self) -> int:
        """The number of logs of the last read."""
        return (len(self.asked[-1]) - 4) // 2


def reading(sessions: int, event_bytes: int) -> tuple[Tailer, Connection]:
    """A tailer with changed sessions and an estimated event size."""
    tailer, connection = (
        Tailer("redis://127.0.0.1:1", Counters(), OFF, recheck_s=3600, deadline_s=1),
        Connection(),
    )
    for number in range(sessions):
        channel = tailer.watch(f"s{number}")
        tailer.join(channel, Viewer())
        channel.event_bytes = event_bytes
    tailer._connection = connection  # type: ignore[assignment]
    tailer.drained()
    return tailer, connection


class TestWhatOneReadMayBring:
    @pytest.mark.parametrize("event_bytes", [1, 100, 5_000, 100_000, 300_000])
    @pytest.mark.parametrize("sessions", [1, 10, 1_000])
    async def test_a_read_is_bounded_for_any_event_size(self, sessions: int, event_bytes: int) -> None:
        _, connection = reading(sessions, event_bytes)
        assert connection.keys * connection.count * event_bytes <= max(READ_BYTES, event_bytes)
        assert connection.count <= READ_EVENTS

    async def test_channels_beyond_the_bound_are_read_next(self) -> None:
        tailer, connection = reading(10, READ_BYTES // 4)
        while len(tailer._dirty):
            connection.replies.pop(0)(None)
            tailer.drained()
        keys = [key for command in connection.asked for key in command[4 : 4 + (len(command) - 4) // 2]]
        assert sorted(keys) == sorted(tailer.channels)

    async def test_the_estimate_rises_immediately_and_decays_slowly(self) -> None:
        channel = Channel("s")
        channel.update_estimate(of_bytes(100_000))
        expected = [channel.event_bytes]
        for _ in range(20):
            channel.update_estimate(of_bytes(100))
            expected.append(channel.event_bytes)
        assert expected[:3] == [100_000, 50_000, 25_000]
        assert expected[-1] == 100


async def test_a_refused_read_is_repeated_for_each_log_with_live_viewers() -> None:
    tailer, connection = reading(3, 100)
    left = next(iter(tailer.channels.values()))
    tailer.unwatch(left, next(iter(left.live)))
    connection.replies.pop()(ResponseError("WRONGTYPE"))
    assert [command[4] for command in connection.asked[1:]] == list(tailer.channels)
    assert len(tailer.channels) == 2
    for _ in range(2):
        connection.replies.pop()(None)
    _, changed = tailer.channels
    tailer.invalidated([changed])
    tailer.drained()
    assert connection.asked[3][4] == changed
