"""`?wait=true`: streams of sessions that do not exist yet."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import httpx2
import pytest
from holdfast.gateway.stream.hub import StreamLimits
from holdfast.shared.ids import ORIGIN

from tests.support.log import Session
from tests.support.process import until
from tests.support.served import Served, served
from tests.support.sse import Frame, SseStream
from tests.support.streams import frames_until, ids_until, streams
from tests.support.workers import worker_on


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    async with served(redis_url, ping_seconds=0.2, max_viewers=3) as gateway:
        await gateway.offer("scripted")
        yield gateway


def wait(gateway: Served, query: str = "", cursor: str | None = None) -> SseStream:
    return SseStream(f"{gateway.url}/v1/sessions/s/events?wait=true{query}", last_event_id=cursor)


async def post(gateway: Served, on_busy: str = "queue", **options: object) -> httpx2.Response:
    body = {"agent": "scripted", "input": "go", "on_busy": on_busy, "options": options}
    return await gateway.client.post("/v1/sessions/s/jobs", json=body)


async def pinged(stream: SseStream, chunks: AsyncIterator[bytes]) -> None:
    """Wait until the stream is open and has been silent for a while."""
    while b": ping" not in await anext(chunks):
        assert not stream.parser.last_event_id


def kinds(frames: list[Frame]) -> list[str]:
    return [frame.json["type"] for frame in frames]


@pytest.mark.parametrize("on_busy", ["queue", "reject", "interrupt"])
@pytest.mark.parametrize("query", ["", "&raw=true", "&from=now"])
async def test_it_opens_at_once_and_shows_the_session_from_its_first_event(
    redis_url: str, gateway: Served, on_busy: str, query: str
) -> None:
    async with wait(gateway, query) as stream:
        chunks = stream.chunks()
        assert await anext(chunks) == b"retry: 1000\n\n"
        await pinged(stream, chunks)
        async with worker_on(redis_url):
            assert (await post(gateway, on_busy, tokens=3)).status_code == 202
            frames = [frame async for chunk in until_end(stream, chunks) for frame in stream.parser.feed(chunk)]
    assert kinds(frames) == ["job.started", "text.delta", "text.delta", "text.delta", "job.completed"]
    assert [frame.json["text"] for frame in frames[1:-1]] == ["w0 ", "w1 ", "w2 "]


async def until_end(stream: SseStream, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        yield chunk
        if b"job.completed" in chunk:
            return


async def test_the_first_event_arrives_by_a_notice_and_not_by_the_slow_check(redis_url: str, session: Session) -> None:
    async with streams(redis_url, StreamLimits(recheck_s=3600)) as served, served.open("s") as stream:
        await until(lambda: any(channel.position == ORIGIN for channel in served.tailer.channels.values()))
        attempt = await session.started()
        assert await ids_until(stream, f"{attempt.epoch}-1") == [f"{attempt.epoch}-1"]


async def test_by_default_it_is_404(gateway: Served) -> None:
    for query in ("", "?wait=false"):
        answer = await gateway.client.get(f"/v1/sessions/s/events{query}")
        assert (answer.status_code, answer.json()["code"]) == (404, "session_unknown")


async def test_its_messages_are_an_empty_list(gateway: Served) -> None:
    answer = await gateway.client.get("/v1/sessions/s/messages?wait=true")
    assert (answer.status_code, answer.json()["messages"], answer.json()["cursor"]) == (200, [], "")
    assert (await gateway.client.get("/v1/sessions/s/messages")).status_code == 404
    posted = await gateway.client.post("/v1/sessions/s/jobs", json={"agent": "scripted", "input": "tea"})
    assert posted.status_code == 202
    assert (await gateway.client.get("/v1/sessions/s/messages?wait=true")).json()["cursor"] == "0-0"


async def test_the_stream_of_a_job_does_not_wait(gateway: Served) -> None:
    answer = await gateway.client.get("/v1/sessions/s/jobs/j1/events?wait=true")
    assert (answer.status_code, answer.json()["code"]) == (404, "session_unknown")


async def test_waiting_viewers_count_against_the_limit(gateway: Served) -> None:
    streams = [wait(gateway) for _ in range(3)]
    for stream in streams:
        await stream.__aenter__()
    async with wait(gateway) as refused:
        assert [frame async for frame in refused] == []
    assert refused.status == 200
    assert refused.parser.retry_ms is not None
    assert refused.parser.retry_ms >= 1000
    for stream in streams:
        stream.cut()
    await until(lambda: no_viewers(gateway))


async def no_viewers(gateway: Served) -> bool:
    return "holdfast_viewers 0.0" in (await gateway.client.get("/metrics")).text


async def test_a_session_that_exists_is_read_as_without_it(gateway: Served, session: Session) -> None:
    attempt = await session.started()
    await session.append(attempt, 1, "a")
    async with wait(gateway, cursor=f"{attempt.epoch}-1") as stream:
        assert (await anext(aiter(stream))).id == f"{attempt.epoch}-2"


class TestAfterAnEnd:
    async def test_a_viewer_that_saw_the_deletion_is_told_to_stop(self, gateway: Served, session: Session) -> None:
        await session.started()
        await session.sessions.delete("s")
        await session.log_writer.settle("s")
        last = await session.log.last("s")
        assert last is not None
        async with wait(gateway, cursor=str(last.id)) as stream:
            assert stream.status == 204

    async def test_during_a_deletion_it_is_refused_for_the_moment(self, gateway: Served, session: Session) -> None:
        await session.started()
        await session.sessions.delete("s")
        async with wait(gateway) as stream:
            assert [frame async for frame in stream] == []
        assert stream.status == 200
        assert stream.parser.retry_ms is not None

    @pytest.mark.parametrize("forget", [False, True], ids=["log kept", "log forgotten"])
    async def test_after_a_deletion_it_waits_for_the_next_session(
        self, gateway: Served, session: Session, monkeypatch: pytest.MonkeyPatch, forget: bool
    ) -> None:
        monkeypatch.setattr(secrets, "randbelow", lambda _: 0)  # in truth a minute lies between the two, not a moment
        await session.started()
        await session.sessions.delete("s")
        await session.log_writer.settle("s")
        async with wait(gateway) as stream:
            await pinged(stream, stream.chunks())
            if forget:
                await session.redis.delete(session.keys.log)
            attempt = await session.started("j2")
            frames = await frames_until(stream, lambda frame: frame.id == f"{attempt.epoch}-1")
        assert kinds(frames)[-1] == "job.started"
        assert "session.deleted" not in kinds(frames)

    async def test_of_an_expired_session_an_old_viewer_gets_a_gap_and_waits(
        self, gateway: Served, session: Session
    ) -> None:
        before = await session.started()
        await session.redis.flushall()
        async with wait(gateway, cursor=f"{before.epoch}-1") as stream:
            gap = await anext(aiter(stream))
            assert (gap.json["reason"], gap.id) == ("expired", "0-0")
            after = await session.started("j2")
            frames = await frames_until(stream, lambda frame: frame.id == f"{after.epoch}-1")
        assert kinds(frames) == ["job.started"]
