"""New viewers: the existence check and the first page take one round trip."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from holdfast.gateway.stream.replay import Replay
from holdfast.gateway.stream.subscriber import Subscriber, Subscription
from holdfast.gateway.stream.viewer import StreamRequest

from tests.support.log import Session
from tests.support.served import Served, served
from tests.support.sse import Frame, SseStream


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    async with served(redis_url) as gateway:
        yield gateway


def come(gateway: Served, cursor: str | None = None, query: str = "?raw=true") -> SseStream:
    return SseStream(f"{gateway.url}/v1/sessions/s/events{query}", last_event_id=cursor)


async def ids(frames: AsyncIterator[Frame], count: int) -> list[str]:
    return [(await anext(frames)).id for _ in range(count)]


async def test_a_reconnecting_viewer_gets_missed_events_with_the_first_bytes(gateway: Served, session: Session) -> None:
    attempt = await session.started()
    await session.append(attempt, 1, "a", "b")
    async with come(gateway, f"{attempt.epoch}-2") as stream:
        assert (await anext(stream.chunks())).startswith(b"retry: 1000\n\nid: %d-3\n" % attempt.epoch)


async def test_a_viewer_at_the_end_gets_the_opening_and_new_events(gateway: Served, session: Session) -> None:
    attempt = await session.started()
    async with come(gateway, f"{attempt.epoch}-1") as stream:
        assert await anext(stream.chunks()) == b"retry: 1000\n\n"
        await session.append(attempt, 1, "a")
        assert await ids(aiter(stream), 1) == [f"{attempt.epoch}-2"]


@pytest.mark.parametrize("live", [0, 1])
async def test_events_appended_after_the_first_page_are_delivered_once(
    gateway: Served, session: Session, monkeypatch: pytest.MonkeyPatch, live: int
) -> None:
    attempt = await session.started()
    wanted = [f"{attempt.epoch}-{seq}" for seq in range(1, 5)]
    async with AsyncExitStack() as streams:
        others = [aiter(await streams.enter_async_context(come(gateway))) for _ in range(live)]
        assert [await ids(other, 1) for other in others] == [wanted[:1]] * live
        ask = Subscriber.subscribe

        async def overtaken(subscriber: Subscriber, request: StreamRequest) -> Subscription:
            subscription = await ask(subscriber, request)
            await session.append(attempt, 1, "a", "b")
            assert [await ids(other, 2) for other in others] == [wanted[1:3]] * live
            return subscription

        monkeypatch.setattr(Subscriber, "subscribe", overtaken)
        frames = aiter(await streams.enter_async_context(come(gateway)))
        assert await ids(frames, 3) == wanted[:3]
        await session.append(attempt, 3, "c")
        assert await ids(frames, 1) == wanted[3:]


async def test_a_log_longer_than_the_first_page_is_sent_without_discarded_events(
    gateway: Served, session: Session
) -> None:
    attempt = await session.started()
    await session.append(attempt, 1, *("wrong " for _ in range(100)))
    again = await session.claim(delivery=2)
    await session.append(again, 1, "right")
    async with come(gateway, query="") as stream:
        frames = aiter(stream)
        told = [(await anext(frames)).json for _ in range(2)]
    assert (told[0]["discard_from"], told[1]["text"]) == (f"{attempt.epoch}-1", "right")


async def test_a_viewer_that_cannot_be_served_is_dropped_and_removed(
    gateway: Served, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    await session.started()
    monkeypatch.setattr(Replay, "render", lambda *_: 1 / 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(b"GET /v1/sessions/s/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()
    assert "holdfast_viewers 0.0" in (await gateway.client.get("/metrics")).text
