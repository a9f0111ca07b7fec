"""A log that many read at the same time is read once for all of them, and for nobody who comes later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from holdfast.gateway.dialects.sse import SSE
from holdfast.gateway.stream.page_cache import CachedPage
from holdfast.gateway.stream.replay import Replay

from tests.support.log import Session
from tests.support.streams import Streams, frames_until, ids_until, streams

EVENTS = 5000
VIEWERS = 20


@pytest.fixture
async def served(redis_url: str) -> AsyncIterator[Streams]:
    async with streams(redis_url) as served:
        yield served


async def calls(session: Session, command: str) -> int:
    """How often the server has carried out a command."""
    statistics = await session.redis.info("commandstats")
    return int(statistics.get(f"cmdstat_{command}", {"calls": 0})["calls"])


@pytest.mark.parametrize("raw", ["true", "false"])
async def test_many_that_read_a_long_log_at_once_share_its_pages(served: Streams, session: Session, raw: str) -> None:
    attempt = await session.started()
    for after in range(1, EVENTS, 500):
        await session.append(attempt, after, *(f"w{after + n} " for n in range(min(500, EVENTS - after))))
    last = f"{attempt.epoch}-{EVENTS}"
    before = await calls(session, "xrange")
    async with AsyncExitStack() as stack:
        viewers = [await stack.enter_async_context(served.open(raw=raw)) for _ in range(VIEWERS)]
        seen = await asyncio.gather(*(frames_until(viewer, lambda frame: frame.id == last) for viewer in viewers))
    texts = {"".join(frame.json.get("text", "") for frame in frames) for frames in seen}
    assert texts == {"".join(f"w{n} " for n in range(1, EVENTS))}
    assert await calls(session, "xrange") - before < VIEWERS * EVENTS / 1000


async def test_who_shares_a_page_shares_what_was_found_to_be_discarded(served: Streams, session: Session) -> None:
    attempt = await session.started()
    async with served.open() as stream:
        await ids_until(stream, f"{attempt.epoch}-1")
        (viewer,) = served.hub.viewers
        before = await calls(session, "hmget")
        shared = CachedPage()
        found = [await served.catch_up._discards(viewer, shared) for _ in range(5)]
    assert found == [[]] * 5
    assert await calls(session, "hmget") - before == 1


@pytest.fixture
async def last(served: Streams, session: Session, monkeypatch: pytest.MonkeyPatch) -> str:
    """The last id of a log whose pages one viewer has read, and which are held from then on."""
    monkeypatch.setattr("holdfast.gateway.stream.page_cache.CACHE_S", 60)
    served.tailer.watch(session.id)  # somebody else who may want them
    attempt = await session.started()
    await session.append(attempt, 1, *("w" * 600))
    last = f"{attempt.epoch}-601"
    async with served.open(raw="true") as first:
        await ids_until(first, last)
    assert served.catch_up.page_cache.cached_bytes > 0
    return last


async def test_behind_a_jobs_record_only_what_is_read_from_then_on_counts(served: Streams, session: Session) -> None:
    """A page from before may lack the end that the record knows of, and more before it."""
    await session.started()
    replay = Replay(SSE, "j1", raw=True)
    came = replay.since
    await served.catch_up._job(await session.sessions.job("s", "j1"), replay)
    assert replay.since > came


async def test_who_comes_after_a_trim_is_told_of_it_though_the_page_is_held(
    served: Streams, session: Session, last: str
) -> None:
    await session.redis.xtrim(session.keys.log, maxlen=10, approximate=False)
    async with served.open(raw="true", cursor="0-0") as late:
        frames = await frames_until(late, lambda frame: frame.id == last)
    assert [frame.json.get("reason") for frame in frames] == ["trimmed", *[None] * 10]


async def test_who_comes_to_a_session_that_was_begun_anew_sees_nothing_of_the_one_before(
    served: Streams, session: Session, last: str
) -> None:
    await session.redis.flushall()
    attempt = await session.started()
    async with served.open(raw="true") as late:
        (started,) = await frames_until(late, lambda _: True)
    assert started.id == f"{attempt.epoch}-1" != last
