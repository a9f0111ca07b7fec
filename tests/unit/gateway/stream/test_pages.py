"""What is read once for many, and for whom it is not."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from holdfast.gateway.stream import pages as pages_module
from holdfast.gateway.stream.pages import SharedPage, SharedPages
from holdfast.shared.event_log import Entry, Gap, Page, Presence
from holdfast.shared.ids import ORIGIN, EventId
from holdfast.shared.redis import RedisError

PAGE = Page([Entry(EventId(1763683200123, 1), "status", "j1", b"{}", ORIGIN)])


class Log:
    """A log that answers when it is told to, and counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[Page]] = []

    async def read_with_presence(self, session_id: str, cursor: EventId, count: int) -> tuple[Page, Presence]:
        self.asked.append(asyncio.get_running_loop().create_future())
        return await self.asked[-1], "there"


class Readers:
    """Readers of one page."""

    def __init__(self) -> None:
        self.log = Log()
        self.pages = SharedPages(self.log)  # type: ignore[arg-type]

    async def ask(self, since: float, *, session_id: str = "s", hold: bool = True) -> asyncio.Task[SharedPage]:
        """Begin to read, up to where the log has to answer."""
        reading = self.pages.read(session_id, ORIGIN, 10, since=since, hold=hold)
        task = asyncio.create_task(reading)
        await asyncio.sleep(0)
        return task

    async def read(self, since: float, page: Page = PAGE, **how: Any) -> SharedPage:
        task = await self.ask(since, **how)
        for asked in self.log.asked:
            if not asked.done():
                asked.set_result(page)
        return await task


@pytest.fixture
async def readers() -> Readers:
    return Readers()


async def test_those_who_wait_for_the_same_page_share_one_read(readers: Readers) -> None:
    since = time.monotonic()
    tasks = [await readers.ask(since) for _ in range(3)]
    readers.log.asked[0].set_result(PAGE)
    first, *others = [await task for task in tasks]
    assert all(other is first for other in others)
    assert len(readers.log.asked) == 1


async def test_who_came_before_a_page_was_asked_for_gets_what_is_held_of_it(readers: Readers) -> None:
    since = time.monotonic()
    assert await readers.read(since) is await readers.read(since)


async def test_who_came_after_a_page_was_asked_for_reads_it_again(readers: Readers) -> None:
    """It may have been trimmed, lost, deleted and begun anew before he came."""
    first = await readers.read(time.monotonic())
    assert await readers.read(time.monotonic()) is not first


async def test_who_came_while_a_page_was_under_way_reads_it_again(readers: Readers) -> None:
    early = await readers.ask(time.monotonic())
    late = await readers.ask(time.monotonic())
    for asked, page in zip(readers.log.asked, (PAGE, Page([])), strict=True):
        asked.set_result(page)
    assert ((await early).page, (await late).page) == (PAGE, Page([]))


@pytest.mark.parametrize("page", [Page([]), Page(PAGE.entries, Gap("trimmed", PAGE.entries[0].id))], ids=["end", "gap"])
async def test_neither_the_end_of_a_log_nor_a_gap_is_held(readers: Readers, page: Page) -> None:
    since = time.monotonic()
    await readers.read(since, page)
    await readers.read(since, page)
    assert len(readers.log.asked) == 2


async def test_what_nobody_else_may_want_is_not_held(readers: Readers) -> None:
    await readers.read(time.monotonic(), hold=False)
    assert not readers.pages._held


async def test_what_is_held_is_bounded(readers: Readers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages_module, "HELD_BYTES", 3000)
    since = time.monotonic()
    for number in range(20):
        await readers.read(since, session_id=f"s{number}")
    assert 0 < readers.pages._held_bytes <= 3000
    assert len(readers.pages._held) < 10
    asked = len(readers.log.asked)
    await readers.read(since, session_id="s19")
    assert len(readers.log.asked) == asked


async def test_what_is_held_goes_after_a_moment(readers: Readers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages_module, "HELD_S", 0)
    await readers.read(time.monotonic())
    async with asyncio.timeout(10):
        while readers.pages._held:
            await asyncio.sleep(0.001)
    assert readers.pages._held_bytes == 0


async def test_an_error_reaches_everybody_who_waits_and_nobody_after_them(readers: Readers) -> None:
    since = time.monotonic()
    tasks = [await readers.ask(since) for _ in range(2)]
    readers.log.asked[0].set_exception(RedisError("away"))
    for task in tasks:
        with pytest.raises(RedisError):
            await task
    assert (await readers.read(since)).page is PAGE


async def test_who_gives_up_takes_nobody_along(readers: Readers) -> None:
    since = time.monotonic()
    first, second, third = [await readers.ask(since) for _ in range(3)]
    second.cancel()
    readers.log.asked[0].set_result(PAGE)
    assert await first is await third
