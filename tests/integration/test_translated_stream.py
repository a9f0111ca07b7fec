"""How the stream of a translation ends: complete after the job's end, and cut in every other case."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest
from holdfast.gateway.dialects.translation import Numbered
from holdfast.shared.ids import EventId

from tests.support import streams as streams_module
from tests.support.counting import Counting
from tests.support.log import Session
from tests.support.process import until
from tests.support.streams import Streams, streams


@pytest.fixture
async def served(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Streams]:
    dialect = Numbered(Counting())
    monkeypatch.setattr(streams_module, "choose", lambda _: dialect)
    async with streams(redis_url) as served:
        yield served


class Reading:
    """Reads a stream in the background. `lines` are without the pings; `cut` tells how it ended."""

    def __init__(self, url: str) -> None:
        self.lines: list[str] = []
        self.cut = False
        self._task = asyncio.create_task(self._read(url))

    async def _read(self, url: str) -> None:
        async with httpx2.AsyncClient(trust_env=False, timeout=30) as client, client.stream("GET", url) as response:
            try:
                async for line in response.aiter_lines():
                    self.lines += [line] * (line not in ("", ": ping"))
            except httpx2.RemoteProtocolError:
                self.cut = True

    async def lines_until(self, last: str) -> list[str]:
        await until(lambda: last in self.lines)
        return self.lines

    async def ended(self) -> None:
        await asyncio.wait_for(self._task, 30)


async def test_a_stream_ends_completely_after_the_end_of_its_job(served: Streams, session: Session) -> None:
    attempt = await session.started()
    reading = Reading(served.url(job_id="j1", raw="true"))
    await reading.lines_until("1 job.started")
    await session.append(attempt, 1, "a")
    await session.finish(attempt, 2)
    await reading.ended()
    assert reading.lines == ["0 hello", "1 job.started", "2 a after 0", "3 comma", "4 job.completed"]
    assert not reading.cut


async def test_a_stopping_gateway_cuts_the_stream(served: Streams, session: Session) -> None:
    await session.started()
    reading = Reading(served.url(job_id="j1", raw="true"))
    await reading.lines_until("1 job.started")
    served.hub.end_all()
    await reading.ended()
    assert reading.cut


@pytest.mark.parametrize("live", [True, False], ids=["live", "catching up"])
async def test_a_translation_cuts_the_stream(served: Streams, session: Session, *, live: bool) -> None:
    attempt = await session.started()
    await session.append(attempt, 1, "a")
    reading = Reading(served.url(job_id="j1", raw="true"))
    if live:
        await reading.lines_until("3 comma")
    await session.claim(delivery=2)
    if not live:
        reading = Reading(served.url(job_id="j1", raw="true"))
    await reading.ended()
    assert reading.cut
    assert reading.lines[-1] == "3 comma"


@pytest.mark.parametrize("live", [True, False], ids=["live", "catching up"])
async def test_a_translation_ends_the_stream_before_its_job_has_ended(
    served: Streams, session: Session, *, live: bool
) -> None:
    attempt = await session.started()
    reading = Reading(served.url(job_id="j1", raw="true"))
    if live:
        await reading.lines_until("1 job.started")
    await session.append(attempt, 1, "enough")
    if not live:
        reading = Reading(served.url(job_id="j1", raw="true"))
    await reading.ended()
    assert not reading.cut
    assert reading.lines[-1] == "3 comma"


async def test_missing_events_are_told_and_cut_the_stream(served: Streams, session: Session) -> None:
    attempt = await session.started()
    await session.append(attempt, 1, "a")
    reading = Reading(served.url(job_id="j1", raw="true"))
    await reading.lines_until("3 comma")
    await session.redis.xtrim(session.keys.log, minid=str(EventId(attempt.epoch, 2)), approximate=False)
    behind = Reading(served.url(job_id="j1", raw="true"))
    await behind.ended()
    assert behind.cut
    assert behind.lines == ["0 hello", "1 lost after 0"]
