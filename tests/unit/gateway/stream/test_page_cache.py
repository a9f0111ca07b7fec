"""The page cache: which readers share one read of the log, and which read again."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from holdfast.gateway.stream import page_cache as page_cache_module
from holdfast.gateway.stream.page_cache import CachedPage, PageCache
from holdfast.shared.ids import ORIGIN, EventId
from holdfast.shared.log.event_log import Entry, Gap, Page, Presence
from holdfast.shared.redis.errors import RedisError

PAGE = Page([Entry(EventId(1763683200123, 1), "status", "j1", b"{}", ORIGIN)])


class Log:
    """A log whose reads complete when the test resolves them."""

    def __init__(self) -> None:
        self.reads: list[asyncio.Future[Page]] = []

    async def read_with_presence(self, session_id: str, cursor: EventId, count: int) -> tuple[Page, Presence]:
        self.reads.append(asyncio.get_running_loop().create_future())
        return await self.reads[-1], "there"


class Readers:
    """Readers of one page."""

    def __init__(self) -> None:
        self.log = Log()
        self.cache = PageCache(self.log)  # type: ignore[arg-type]

    async def start(self, since: float, *, session_id: str = "s", store: bool = True) -> asyncio.Task[CachedPage]:
        """Start a read and run it until it waits for the log."""
        reading = self.cache.read(session_id, ORIGIN, 10, since=since, store=store)
        task = asyncio.create_task(reading)
        await asyncio.sleep(0)
        return task

    async def read(self, since: float, page: Page = PAGE, **how: Any) -> CachedPage:
        task = await self.start(since, **how)
        for read in self.log.reads:
            if not read.done():
                read.set_result(page)
        return await task


@pytest.fixture
async def readers() -> Readers:
    return Readers()


async def test_concurrent_reads_of_a_page_share_one_read_of_the_log(readers: Readers) -> None:
    since = time.monotonic()
    tasks = [await readers.start(since) for _ in range(3)]
    readers.log.reads[0].set_result(PAGE)
    first, *others = [await task for task in tasks]
    assert all(other is first for other in others)
    assert len(readers.log.reads) == 1


async def test_a_viewer_from_before_the_read_gets_the_cached_page(readers: Readers) -> None:
    since = time.monotonic()
    assert await readers.read(since) is await readers.read(since)


async def test_a_viewer_from_after_the_read_reads_the_page_again(readers: Readers) -> None:
    """The log may have been trimmed, lost or deleted in between."""
    first = await readers.read(time.monotonic())
    assert await readers.read(time.monotonic()) is not first


async def test_a_viewer_that_arrives_during_a_read_reads_the_page_again(readers: Readers) -> None:
    early = await readers.start(time.monotonic())
    late = await readers.start(time.monotonic())
    for read, page in zip(readers.log.reads, (PAGE, Page([])), strict=True):
        read.set_result(page)
    assert ((await early).page, (await late).page) == (PAGE, Page([]))


@pytest.mark.parametrize("page", [Page([]), Page(PAGE.entries, Gap("trimmed", PAGE.entries[0].id))], ids=["end", "gap"])
async def test_neither_the_end_of_a_log_nor_a_gap_is_cached(readers: Readers, page: Page) -> None:
    since = time.monotonic()
    await readers.read(since, page)
    await readers.read(since, page)
    assert len(readers.log.reads) == 2


async def test_a_page_of_a_single_viewer_is_not_cached(readers: Readers) -> None:
    await readers.read(time.monotonic(), store=False)
    assert readers.cache.cached_bytes == 0


async def test_the_cache_is_bounded(readers: Readers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_cache_module, "MAX_CACHE_BYTES", 3000)
    since = time.monotonic()
    for number in range(20):
        await readers.read(since, session_id=f"s{number}")
    assert 0 < readers.cache.cached_bytes <= 3000
    reads = len(readers.log.reads)
    await readers.read(since, session_id="s19")
    assert len(readers.log.reads) == reads


async def test_cached_pages_expire(readers: Readers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_cache_module, "CACHE_S", 0)
    await readers.read(time.monotonic())
    async with asyncio.timeout(10):
        while readers.cache.cached_bytes:
            await asyncio.sleep(0.001)


async def test_an_error_reaches_all_waiting_readers_and_no_later_one(readers: Readers) -> None:
    since = time.monotonic()
    tasks = [await readers.start(since) for _ in range(2)]
    readers.log.reads[0].set_exception(RedisError("away"))
    for task in tasks:
        with pytest.raises(RedisError):
            await task
    assert (await readers.read(since)).page is PAGE


async def test_cancelling_one_reader_does_not_affect_the_others(readers: Readers) -> None:
    since = time.monotonic()
    first, second, third = [await readers.start(since) for _ in range(3)]
    second.cancel()
    readers.log.reads[0].set_result(PAGE)
    assert await first is await third
