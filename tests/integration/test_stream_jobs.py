"""The stream of one job: where it begins, that it ends, and what a viewer is told while the job waits."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from holdfast.shared.log.log_replies import Attempt

from tests.support.log import Session
from tests.support.sse import Frame, SseStream
from tests.support.streams import Streams, frames_until, streams


@pytest.fixture
async def served(redis_url: str) -> AsyncIterator[Streams]:
    async with streams(redis_url) as served:
        yield served


async def all_of(stream: SseStream) -> list[Frame]:
    """Everything until the server ends the stream."""
    return [frame async for frame in stream]


def kinds(frames: list[Frame]) -> list[str]:
    return [frame.json["type"] for frame in frames]


async def told(stream: SseStream, kind: str) -> Frame:
    return (await frames_until(stream, lambda frame: bool(frame.json["type"] == kind)))[-1]


async def first_of_two(session: Session) -> Attempt:
    """A job `j1` that runs, and `j2` that waits behind it."""
    attempt = await session.started("j1")
    await session.submit("j2")
    return attempt


class TestEnd:
    async def test_it_ends_after_its_terminal_event(self, served: Streams, session: Session) -> None:
        attempt = await session.started()
        async with served.open("s", "j1", raw="true") as stream:
            await told(stream, "job.started")
            await session.append(attempt, 1, "a")
            await session.finish(attempt, 2)
            assert kinds(await all_of(stream)) == ["text.delta", "job.completed"]

    async def test_a_finished_job_is_replayed_and_ends(self, served: Streams, session: Session) -> None:
        attempt = await session.started()
        await session.append(attempt, 1, "a", "b")
        await session.finish(attempt, 3)
        async with served.open("s", "j1") as stream:
            frames = await all_of(stream)
        assert kinds(frames) == ["job.started", "text.delta", "job.completed"]
        assert (frames[1].json["text"], frames[1].json["from"]) == ("ab", f"{attempt.epoch}-2")

    @pytest.mark.parametrize("seq", [4, 9])
    async def test_a_cursor_at_or_behind_the_end_gets_204(self, served: Streams, session: Session, seq: int) -> None:
        attempt = await session.started()
        await session.append(attempt, 1, "a", "b")
        await session.finish(attempt, 3)
        async with served.open("s", "j1", cursor=f"{attempt.epoch}-{seq}") as stream:
            assert stream.status == 204

    async def test_from_now_of_a_finished_job_gets_204(self, served: Streams, session: Session) -> None:
        await session.finish(await session.started(), 1)
        async with served.open("s", "j1", **{"from": "now"}) as stream:
            assert stream.status == 204

    async def test_an_end_that_was_trimmed_away_comes_from_the_record(self, served: Streams, session: Session) -> None:
        first = await session.started("j1")
        await session.append(first, 1, "a")
        await session.finish(first, 2)
        second = await session.started("j2")
        await session.redis.xtrim(session.keys.log, minid=f"{second.epoch}-1", approximate=False)
        async with served.open("s", "j1") as stream:
            frames = await all_of(stream)
        assert kinds(frames) == ["gap", "job.completed"]
        assert [frame.id for frame in frames] == ["", f"{first.epoch}-3"]

    async def test_an_end_whose_log_vanished_comes_from_the_record(self, served: Streams, session: Session) -> None:
        attempt = await session.started()
        await session.append(attempt, 1, "a")
        await session.finish(attempt, 2)
        await session.redis.delete(session.keys.log)
        async with served.open("s", "j1", cursor=f"{attempt.epoch}-2") as stream:
            frames = await all_of(stream)
        assert kinds(frames) == ["gap", "job.completed"]
        assert frames[-1].id == f"{attempt.epoch}-3"

    async def test_it_ends_when_the_session_and_its_log_are_gone(self, served: Streams, session: Session) -> None:
        await session.started()
        async with served.open("s", "j1") as stream:
            await told(stream, "job.started")
            await session.redis.flushall()
            assert kinds(await all_of(stream)) == ["gap"]

    async def test_every_stream_of_a_deleted_session_ends_with_session_deleted(
        self, served: Streams, session: Session
    ) -> None:
        await first_of_two(session)
        async with served.open() as whole, served.open("s", "j1") as running, served.open("s", "j2") as waiting:
            await told(whole, "job.started")
            await told(running, "job.started")
            await told(waiting, "job.queued")
            await session.sessions.delete("s")
            await session.log_writer.settle("s")
            assert kinds(await all_of(whole)) == ["job.cancelled", "job.cancelled", "session.deleted"]
            assert kinds(await all_of(running))[0] == "job.cancelled"
            assert kinds(await all_of(waiting))[0] == "job.cancelled"


class TestBegin:
    async def test_it_shows_no_other_job(self, served: Streams, session: Session) -> None:
        first = await session.started("j1")
        await session.append(first, 1, "a")
        await session.finish(first, 2)
        second = await session.started("j2")
        await session.append(second, 1, "b")
        await session.finish(second, 2)
        async with served.open("s", "j2", raw="true") as stream:
            frames = await all_of(stream)
        assert {frame.json["job_id"] for frame in frames} == {"j2"}
        assert kinds(frames) == ["job.started", "text.delta", "job.completed"]

    async def test_a_cursor_before_its_first_event_means_its_first_event(
        self, served: Streams, session: Session
    ) -> None:
        first = await session.started("j1")
        await session.finish(first, 1)
        second = await session.started("j2")
        await session.finish(second, 1)
        await session.redis.xtrim(session.keys.log, minid=f"{second.epoch}-1", approximate=False)
        async with served.open("s", "j2", cursor=f"{first.epoch}-1") as stream:
            assert kinds(await all_of(stream)) == ["job.started", "job.completed"]

    async def test_a_waiting_job_is_told_with_its_position_and_without_an_id_and_then_runs(
        self, served: Streams, session: Session
    ) -> None:
        first = await first_of_two(session)
        async with served.open("s", "j2", raw="true") as stream:
            queued = await told(stream, "job.queued")
            assert (queued.id, queued.json) == ("", {"type": "job.queued", "job_id": "j2", "position": 1})
            await session.append(first, 1, "not for this viewer")
            await session.finish(first, 2)
            second = await session.claim("j2")
            await session.finish(second, 1)
            assert kinds(await all_of(stream)) == ["job.started", "job.completed"]


class TestAttempts:
    async def test_what_a_later_attempt_discarded_is_left_out_of_a_compact_replay(
        self, served: Streams, session: Session
    ) -> None:
        attempt = await session.started()
        await session.append(attempt, 1, *("wrong " for _ in range(700)))
        again = await session.claim(delivery=2)
        await session.append(again, 1, "right ", "this time")
        await session.finish(again, 3)
        async with served.open() as stream:
            frames = await frames_until(stream, lambda frame: bool(frame.json["type"] == "job.completed"))
        assert kinds(frames) == ["job.started", "text.delta", "job.completed"]
        assert frames[0].json["discard_from"] == f"{attempt.epoch}-1"
        assert frames[1].json["text"] == "right this time"

    async def test_raw_keeps_what_was_discarded(self, served: Streams, session: Session) -> None:
        attempt = await session.started()
        await session.append(attempt, 1, "wrong")
        again = await session.claim(delivery=2)
        await session.finish(again, 1)
        async with served.open("s", "j1", raw="true") as stream:
            assert kinds(await all_of(stream)) == ["job.started", "text.delta", "job.started", "job.completed"]
