"""Viewers of real streams over real sockets: what they get, in which order, over which connections to Redis."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import orjson
import pytest
from holdfast.gateway.stream.hub import StreamLimits
from holdfast.gateway.stream.tailer import Tailer
from holdfast.shared.ids import EventId
from holdfast.shared.log.event_log import EventLog, Page, Presence
from holdfast.shared.log.log_replies import Event

from tests.support.log import Session
from tests.support.process import until
from tests.support.streams import Streams, Wanted, frames_until, ids_until, streams


@pytest.fixture
async def served(redis_url: str) -> AsyncIterator[Streams]:
    async with streams(redis_url, StreamLimits(recheck_s=3600)) as served:  # no test may be saved by it but its own
        yield served


def _with_id(wanted: str) -> Wanted:
    return lambda frame: frame.id == wanted


def ids(epoch: int, *seqs: int) -> list[str]:
    return [f"{epoch}-{seq}" for seq in seqs]


class TestLive:
    async def test_a_viewer_gets_what_was_there_and_then_what_comes(self, served: Streams, session: Session) -> None:
        attempt = await session.started()
        await session.append(attempt, 1, "a")
        async with served.open(raw="true") as stream:
            assert await ids_until(stream, f"{attempt.epoch}-2") == ids(attempt.epoch, 1, 2)
            for seq in range(2, 12):
                await session.append(attempt, seq, "b")
            assert await ids_until(stream, f"{attempt.epoch}-12") == ids(attempt.epoch, *range(3, 13))

    async def test_the_first_byte_comes_before_anything_is_known(self, served: Streams) -> None:
        async with served.open("nobody-ever-wrote-here") as stream:
            first = await anext(stream.chunks())
            assert (stream.status, first) == (200, b"retry: 1000\n\n")
            assert stream.headers["cache-control"] == "no-cache, no-transform"
            assert stream.headers["x-accel-buffering"] == "no"

    async def test_a_reconnect_goes_on_behind_its_cursor(self, served: Streams, session: Session) -> None:
        attempt = await session.started()
        await session.append(attempt, 1, "a", "b", "c")
        async with served.open(cursor=f"{attempt.epoch}-2", raw="true") as stream:
            assert await ids_until(stream, f"{attempt.epoch}-4") == ids(attempt.epoch, 3, 4)

    async def test_from_now_says_where_it_begins_and_shows_only_what_comes(
        self, served: Streams, session: Session
    ) -> None:
        attempt = await session.started()
        await session.append(attempt, 1, "a", "b")
        async with served.open(**{"from": "now"}) as stream:
            chunks = stream.chunks()
            while not stream.parser.last_event_id:
                assert stream.parser.feed(await anext(chunks)) == []
            assert stream.parser.last_event_id == f"{attempt.epoch}-3"
            await session.append(attempt, 3, "c")
            assert await ids_until(stream, f"{attempt.epoch}-4") == ids(attempt.epoch, 4)

    async def test_ndjson_is_one_event_a_line(self, served: Streams, session: Session) -> None:
        attempt = await session.started()
        stream = served.open()
        stream._request_headers["Accept"] = "application/x-ndjson"
        async with stream:
            assert stream.headers["content-type"] == "application/x-ndjson"
            received = b""
            async for chunk in stream.chunks():
                received += chunk
                if b"job.started" in received:
                    break
        (line,) = [line for line in received.split(b"\n") if line]
        assert orjson.loads(line)["id"] == f"{attempt.epoch}-1"

    async def test_all_viewers_of_a_session_get_the_same_bytes(self, served: Streams, session: Session) -> None:
        attempt = await session.started()
        async with AsyncExitStack() as stack:
            viewers = [await stack.enter_async_context(served.open(raw="true")) for _ in range(20)]
            await until(lambda: served.hub.counters.events >= 20)
            for seq in range(1, 30):
                await session.append(attempt, seq, f"w{seq}")
            last = f"{attempt.epoch}-30"
            seen = [await frames_until(viewer, lambda frame: frame.id == last) for viewer in viewers]
        assert all(frames == seen[0] for frames in seen)
        assert [frame.id for frame in seen[0]] == ids(attempt.epoch, *range(1, 31))

    async def test_a_batch_larger_than_one_read_arrives_whole(self, served: Streams, session: Session) -> None:
        attempt = await session.started()
        async with served.open(raw="true") as stream:
            await ids_until(stream, f"{attempt.epoch}-1")
            await session.append(attempt, 1, *(f"w{n}" for n in range(2000)))
            assert await ids_until(stream, f"{attempt.epoch}-2001") == ids(attempt.epoch, *range(2, 2002))

    async def test_one_session_does_not_show_in_another(
        self, served: Streams, open_session: Callable[..., Session]
    ) -> None:
        sessions = [open_session(session_id=f"s{n}") for n in range(10)]
        attempts = [await session.started() for session in sessions]
        async with AsyncExitStack() as stack:
            viewers = [await stack.enter_async_context(served.open(session.id, raw="true")) for session in sessions]
            for seq in range(1, 20):
                pairs = zip(sessions, attempts, strict=True)
                await asyncio.gather(*(session.append(attempt, seq, session.id) for session, attempt in pairs))
            for session, attempt, viewer in zip(sessions, attempts, viewers, strict=True):
                last = f"{attempt.epoch}-20"
                frames = await frames_until(viewer, _with_id(last))
                assert {frame.json["text"] for frame in frames[1:]} == {session.id}

    async def test_a_log_that_cannot_be_read_disturbs_no_other(self, served: Streams, session: Session) -> None:
        attempt = await session.started()
        async with served.open("broken", raw="true"), served.open(raw="true") as healthy:
            await ids_until(healthy, f"{attempt.epoch}-1")
            await until(lambda: served.tailer.channels[b"holdfast:{broken}:log"].position is not None)
            event = ("XADD", session.keys.log, f"{attempt.epoch}-2", "j1 status", "{}")
            await session.redis.transaction(("SET", "holdfast:{broken}:log", "no stream"), event)  # read together
            assert await ids_until(healthy, f"{attempt.epoch}-2") == ids(attempt.epoch, 2)


class TestConnections:
    async def test_two_hundred_viewers_of_forty_sessions_share_one_tracking_connection(
        self, served: Streams, open_session: Callable[..., Session]
    ) -> None:
        sessions = [open_session(session_id=f"s{n}") for n in range(40)]
        attempts = [await one.started() for one in sessions]
        async with AsyncExitStack() as stack:
            viewers = [await stack.enter_async_context(served.open(f"s{n % 40}", raw="true")) for n in range(200)]
            for one, attempt in zip(sessions, attempts, strict=True):
                await one.append(attempt, 1, "a")
            for number, viewer in enumerate(viewers):
                await ids_until(viewer, f"{attempts[number % 40].epoch}-2")
            clients = await sessions[0].redis.client_list()
            tracking = [client for client in clients if "t" in client["flags"]]
            assert len(tracking) == 1
            assert served.hub.counters.viewers == 200
        await until(lambda: served.hub.counters.viewers == 0)
        assert served.tailer.channels == {}


class Pausing:
    """An event log that lets something happen between the reading of a page and its use."""

    def __init__(self, log: EventLog, meanwhile: Callable[[], Awaitable[Any]]) -> None:
        self.log = log
        self.meanwhile = meanwhile

    async def read_with_presence(self, session_id: str, cursor: EventId, count: int) -> tuple[Page, Presence]:
        page = await self.log.read_with_presence(session_id, cursor, count)
        await self.meanwhile()
        return page

    async def last(self, session_id: str) -> Any:
        last = await self.log.last(session_id)
        await self.meanwhile()
        return last


class TestHandOver:
    @pytest.mark.parametrize("chunk", range(4))
    async def test_nothing_is_lost_or_doubled_when_events_are_written_while_a_viewer_attaches(
        self, served: Streams, session: Session, chunk: int
    ) -> None:
        """1,000 seeds in 4 chunks: appends fall between any two steps of an attach, alone or beside a live viewer."""
        for seed in range(250 * chunk, 250 * (chunk + 1)):
            await self.attach(served, session, random.Random(seed), f"j{seed}")

    async def attach(self, served: Streams, session: Session, dice: random.Random, job_id: str) -> None:
        attempt = await session.started(job_id)
        written = 1
        writing, sealed = asyncio.Lock(), False

        async def write() -> None:
            nonlocal written
            texts = ["w"] * dice.choice([0, 1, 1, 3])
            async with writing:
                if texts and not sealed:
                    await session.append(attempt, written, *texts)
                    written += len(texts)

        catch_up = served.catch_up
        plain = session.log
        catch_up.page_cache._log = Pausing(plain, write)  # type: ignore[assignment]
        start = f"{attempt.epoch}-1"
        async with AsyncExitStack() as stack:
            viewers = [await stack.enter_async_context(served.open(cursor=start, raw="true"))]
            await write()
            if dice.random() < 0.5:
                viewers.append(await stack.enter_async_context(served.open(cursor=start, raw="true")))
                await write()
            catch_up.page_cache._log = plain
            async with writing:
                await session.append(attempt, written, "last")
                written, sealed = written + 1, True
            for viewer in viewers:
                seen = await ids_until(viewer, f"{attempt.epoch}-{written}")
                assert seen == ids(attempt.epoch, *range(2, written + 1))
        await session.finish(attempt, written)

    async def test_a_viewer_that_joins_gets_what_the_others_got_since_its_last_page(
        self, served: Streams, session: Session
    ) -> None:
        attempt = await session.started()
        async with served.open(raw="true") as first:
            await ids_until(first, f"{attempt.epoch}-1")

            async def get_ahead() -> None:
                await session.append(attempt, 1, "a")
                await ids_until(first, f"{attempt.epoch}-2")

            pages = served.catch_up.page_cache
            pages._log = Pausing(pages._log, get_ahead)  # type: ignore[assignment]
            async with served.open(raw="true") as late:
                await ids_until(late, f"{attempt.epoch}-1")
                await session.append(attempt, 2, "b")
                assert await ids_until(late, f"{attempt.epoch}-3") == ids(attempt.epoch, 2, 3)

    async def test_a_viewer_steps_in_beside_one_that_is_live_while_events_pour(
        self, served: Streams, session: Session
    ) -> None:
        attempt = await session.started()
        written = 1
        async with served.open(raw="true") as first:
            await ids_until(first, f"{attempt.epoch}-1")

            async def pour() -> None:
                nonlocal written
                while written < 1500:
                    await session.append(attempt, written, "w")
                    written += 1

            pouring = asyncio.create_task(pour())
            async with AsyncExitStack() as stack:
                viewers = [await stack.enter_async_context(served.open(raw="true")) for _ in range(20)]
                await pouring
                for viewer in [first, *viewers]:
                    seen = await ids_until(viewer, f"{attempt.epoch}-1500")
                    assert seen[-1499:] == ids(attempt.epoch, *range(2, 1501))


class TestNets:
    async def test_a_notice_that_was_missed_is_made_good_by_the_recheck(
        self, redis_url: str, session: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Tailer, "invalidated", lambda _self, _keys: None)
        attempt = await session.started()
        async with streams(redis_url, StreamLimits(recheck_s=0.5)) as served, served.open(raw="true") as stream:
            await ids_until(stream, f"{attempt.epoch}-1")
            await session.append(attempt, 1, "a")
            assert await ids_until(stream, f"{attempt.epoch}-2") == ids(attempt.epoch, 2)

    async def test_an_expiry_that_is_set_on_a_watched_log_tells_viewers_nothing(
        self, served: Streams, session: Session
    ) -> None:
        attempt = await session.started()
        async with served.open(raw="true") as stream:
            await ids_until(stream, f"{attempt.epoch}-1")
            await session.redis.pexpire(session.keys.log, 100_000)
            await session.redis.persist(session.keys.log)
            await session.append(attempt, 1, "a")
            frames = await frames_until(stream, lambda frame: frame.id == f"{attempt.epoch}-2")
        assert [frame.json["type"] for frame in frames] == ["text.delta"]
        assert served.hub.counters.catch_ups == 0

    async def test_large_events_come_through(self, served: Streams, session: Session) -> None:
        attempt = await session.started()
        body = orjson.dumps({"type": "data", "job_id": "j1", "name": "x", "value": "v" * 200_000})
        async with served.open(raw="true") as stream:
            await ids_until(stream, f"{attempt.epoch}-1")
            for seq in range(1, 11):
                await session.log_writer.append("s", attempt.epoch, seq, [Event("data", "j1", body)])
            frames = await frames_until(stream, lambda frame: frame.id == f"{attempt.epoch}-11")
        assert [frame.id for frame in frames] == ids(attempt.epoch, *range(2, 12))
        assert {len(frame.data) for frame in frames} == {len(body)}
