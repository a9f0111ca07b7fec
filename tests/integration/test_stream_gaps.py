"""Whatever happens to a log under its viewers: nothing missing in silence, and the right reason for what is missing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from holdfast.gateway.stream.hub import StreamLimits
from holdfast.shared.log.log_replies import Attempt

from tests.support.log import Session
from tests.support.process import until
from tests.support.redis_server import RedisServer
from tests.support.sse import Frame, SseStream
from tests.support.streams import Streams, frames_until, ids_until, streams

# No test here may be saved by the slow re-check.
QUICK = StreamLimits(ping_s=0.4, redis_deadline_s=0.5, recheck_s=3600)


@pytest.fixture
async def served(redis_url: str) -> AsyncIterator[Streams]:
    async with streams(redis_url, QUICK) as served:
        yield served


def is_gap(frame: Frame) -> bool:
    return bool(frame.json["type"] == "gap")


def is_type(kind: str) -> Callable[[Frame], bool]:
    return lambda frame: bool(frame.json["type"] == kind)


async def next_gap(stream: SseStream) -> dict[str, Any]:
    return (await frames_until(stream, is_gap))[-1].json


async def live(stream: SseStream, attempt: Attempt, seq: int) -> None:
    """Wait until the stream has shown that event."""
    await ids_until(stream, f"{attempt.epoch}-{seq}")


class TestGaps:
    async def test_a_deleted_log_is_told_as_expired_and_the_cursor_goes_to_the_beginning(
        self, served: Streams, session: Session
    ) -> None:
        attempt = await session.started()
        async with served.open(raw="true") as stream:
            await live(stream, attempt, 1)
            await session.redis.delete(session.keys.log)
            gap = (await frames_until(stream, is_gap))[-1]
        assert gap.json == {"type": "gap", "reason": "expired", "position": "0-0"}
        assert gap.id == "0-0"

    async def test_a_flushed_server_is_told_as_expired(self, served: Streams, session: Session) -> None:
        attempt = await session.started()
        async with served.open(raw="true") as stream:
            await live(stream, attempt, 1)
            await session.redis.flushall()
            assert (await next_gap(stream))["reason"] == "expired"

    async def test_a_log_that_expires_under_its_viewers_is_told_once(self, served: Streams, session: Session) -> None:
        attempt = await session.started()
        async with served.open(raw="true") as stream:
            await live(stream, attempt, 1)
            await session.redis.pexpire(session.keys.log, 1)
            assert (await next_gap(stream))["reason"] == "expired"
            chunks = stream.chunks()
            pings = b""
            while pings.count(b": ping") < 3:
                pings += await anext(chunks)
        assert b"gap" not in pings

    async def test_a_log_reborn_after_it_vanished_goes_on_behind_the_gap(
        self, served: Streams, session: Session
    ) -> None:
        attempt = await session.started()
        async with served.open(raw="true") as stream:
            await live(stream, attempt, 1)
            await session.redis.delete(session.keys.log)
            await next_gap(stream)
            await session.log_writer.end_lost(attempt)
            end = (await frames_until(stream, is_type("job.failed")))[-1]
        assert end.json["log_lost"] is True

    async def test_a_tail_that_a_failover_lost_is_told_as_lost_with_the_entry_that_is_left(
        self, served: Streams, session: Session
    ) -> None:
        attempt = await session.started()
        await session.append(attempt, 1, "a", "b", "c")
        async with served.open(raw="true") as stream:
            await live(stream, attempt, 4)
            await session.redis.xdel(session.keys.log, f"{attempt.epoch}-3", f"{attempt.epoch}-4")
            gap = (await frames_until(stream, is_gap))[-1]
        assert gap.json == {"type": "gap", "reason": "lost", "position": f"{attempt.epoch}-2"}
        assert gap.id == f"{attempt.epoch}-2"

    async def test_a_cursor_that_was_trimmed_away_gets_the_gap_in_one_write_with_the_first_that_is_kept(
        self, served: Streams, session: Session
    ) -> None:
        attempt = await session.started()
        await session.append(attempt, 1, *"abcdef")
        await session.redis.xtrim(session.keys.log, minid=f"{attempt.epoch}-5", approximate=False)
        async with served.open(cursor=f"{attempt.epoch}-2", raw="true") as stream:
            chunks = stream.chunks()
            written = await anext(chunks)
            while b"gap" not in written:
                written = await anext(chunks)
            frames = stream.parser.feed(written)
        assert frames[0].json == {"type": "gap", "reason": "trimmed", "position": f"{attempt.epoch}-5"}
        assert (frames[0].id, frames[1].id) == ("", f"{attempt.epoch}-5")

    async def test_a_trim_behind_a_live_viewer_tells_it_nothing(self, served: Streams, session: Session) -> None:
        attempt = await session.started()
        await session.append(attempt, 1, *"abcdef")
        async with served.open(raw="true") as stream:
            await live(stream, attempt, 7)
            await session.redis.xtrim(session.keys.log, maxlen=1, approximate=False)
            await session.append(attempt, 7, "g")
            frames = await frames_until(stream, lambda frame: frame.id == f"{attempt.epoch}-8")
        assert len(frames) == 1

    async def test_a_hole_in_the_log_is_never_passed_over_in_silence(self, served: Streams, session: Session) -> None:
        attempt = await session.started()
        async with served.open(raw="true") as stream:
            await live(stream, attempt, 1)
            entry = {"j1 text.delta": '{"type":"text.delta"}'}
            await session.redis.xadd(session.keys.log, entry, id=f"{attempt.epoch}-3")
            frames = await frames_until(stream, lambda frame: frame.id == f"{attempt.epoch}-3")
        assert [frame.json["type"] for frame in frames] == ["gap", "text.delta"]


class TestRedisAway:
    async def test_viewers_stay_and_go_on_without_a_gap_when_a_server_that_keeps_its_data_restarts(
        self, redis_server: Callable[..., RedisServer]
    ) -> None:
        server = redis_server(aof=True, fsync="always")
        session = Session(server.url)
        attempt = await session.started()
        async with streams(server.url, QUICK) as served, served.open(raw="true") as stream:
            await live(stream, attempt, 1)
            server.restart()
            await session.append(attempt, 1, "a", "b")
            frames = await frames_until(stream, lambda frame: frame.id == f"{attempt.epoch}-3")
            assert [frame.id for frame in frames] == [f"{attempt.epoch}-2", f"{attempt.epoch}-3"]
            assert served.hub.counters.reconnects == 1
        await session.aclose()

    async def test_a_restart_that_lost_everything_is_told_as_expired(
        self, redis_server: Callable[..., RedisServer]
    ) -> None:
        server = redis_server()
        session = Session(server.url)
        attempt = await session.started()
        async with streams(server.url, QUICK) as served, served.open(raw="true") as stream:
            await live(stream, attempt, 1)
            server.restart()
            assert (await next_gap(stream))["reason"] == "expired"
        await session.aclose()

    async def test_pings_go_on_while_the_server_is_frozen_and_events_when_it_is_back(
        self, redis_server: Callable[..., RedisServer]
    ) -> None:
        server = redis_server()
        session = Session(server.url)
        attempt = await session.started()
        async with streams(server.url, QUICK) as served, served.open(raw="true") as stream:
            await live(stream, attempt, 1)
            server.stop()
            await until(lambda: not all(tailer.connected for tailer in served.hub.tailers.values()))
            chunks, pings = stream.chunks(), b""
            while pings.count(b": ping") < 4:
                pings += await anext(chunks)
            server.cont()
            await session.append(attempt, 1, "a")
            assert await ids_until(stream, f"{attempt.epoch}-2") == [f"{attempt.epoch}-2"]
        await session.aclose()

    async def test_a_viewer_that_comes_while_the_server_is_away_is_served_when_it_is_back(
        self, redis_server: Callable[..., RedisServer]
    ) -> None:
        server = redis_server(aof=True, fsync="always")
        session = Session(server.url)
        attempt = await session.started()
        async with streams(server.url, QUICK) as served:
            server.kill()
            async with served.open(raw="true") as stream:
                first = await anext(stream.chunks())
                assert first == b"retry: 1000\n\n"
                server.start()
                assert await ids_until(stream, f"{attempt.epoch}-1") == [f"{attempt.epoch}-1"]
        await session.aclose()

    async def test_every_way_of_losing_the_connection_leaves_no_hole_while_events_pour(
        self, redis_server: Callable[..., RedisServer]
    ) -> None:
        server = redis_server()
        session = Session(server.url)
        attempt = await session.started()
        async with streams(server.url, QUICK) as served, served.open(raw="true") as stream:
            await live(stream, attempt, 1)

            async def pour() -> None:
                for seq in range(1, 1000):
                    await session.append(attempt, seq, "w")
                    if seq % 100 == 0:
                        await session.redis.client_kill_filter(_type="normal", skipme=True)

            pouring = asyncio.create_task(pour())
            seen = await ids_until(stream, f"{attempt.epoch}-1000")
            await pouring
            assert served.hub.counters.reconnects > 0
        assert seen == [f"{attempt.epoch}-{seq}" for seq in range(2, 1001)]
        await session.aclose()


class TestCuts:
    async def test_a_stream_cut_at_every_byte_and_resumed_gives_the_whole_log_once(
        self, served: Streams, session: Session
    ) -> None:
        attempt = await session.started()
        for seq in range(1, 4):
            await session.append(attempt, seq, "a\u2028b")
        await session.finish(attempt, 4)
        async with served.open("s", "j1", raw="true") as stream:
            whole = [frame async for frame in stream]
            length = len(stream.body)
        for offset in range(1, length):
            assert await self.cut_and_resumed(served, offset) == whole

    async def cut_and_resumed(self, served: Streams, offset: int) -> list[Frame]:
        first = served.open("s", "j1", raw="true")
        first._left = offset
        async with first:
            first_frames = [frame async for frame in first]
            cursor = first.parser.last_event_id
        async with served.open("s", "j1", cursor=cursor or None, raw="true") as second:
            frames = first_frames + [frame async for frame in second]
        assert second.status == (200 if len(frames) > len(first_frames) else 204)
        return frames
