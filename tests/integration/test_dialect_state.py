"""A dialect that remembers what a viewer has received: across pages, live events and a client that falls behind."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from holdfast.gateway.stream.hub import StreamLimits

from tests.support import streams as streams_module
from tests.support.chunks import unchunked
from tests.support.log import Session
from tests.support.numbering import Numbering
from tests.support.process import until
from tests.support.sse import SseParser
from tests.support.streams import Deaf, Streams, frames_until, streams


@pytest.fixture
async def served(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Streams]:
    dialect = Numbering()
    monkeypatch.setattr(streams_module, "choose", lambda _: dialect)
    async with streams(redis_url, StreamLimits(recheck_s=3600, send_deadline_s=60)) as served:
        yield served


async def test_events_are_numbered_across_pages_and_live_batches_for_each_viewer(
    served: Streams, session: Session
) -> None:
    attempt = await session.started()
    await session.append(attempt, 1, *["a"] * 2000)
    async with served.open(raw="true") as early:
        seen = await frames_until(early, lambda frame: frame.data == "2000")
        await session.append(attempt, 2001, *["b"] * 5)
        async with served.open(raw="true", cursor=f"{attempt.epoch}-2001") as late:
            seen += await frames_until(early, lambda frame: frame.data == "2005")
            later = await frames_until(late, lambda frame: frame.id == f"{attempt.epoch}-2006")
    assert [frame.data for frame in seen] == [str(number) for number in range(2006)]
    assert [frame.data for frame in later] == [str(number) for number in range(5)]


async def test_events_that_a_slow_client_has_not_received_are_not_counted(served: Streams, session: Session) -> None:
    attempt = await session.started()
    deaf = Deaf(served.url(raw="true"))
    await until(lambda: served.hub.counters.events == 1)
    for seq in range(1, 121):
        await session.append(attempt, seq, "x" * 60_000)
    await until(lambda: served.hub.counters.catch_ups == 1)
    wire = bytearray()
    while not wire.endswith(b"\ndata: 120\n\n\r\n"):
        wire += await deaf.read()
    deaf.close()
    frames = SseParser().feed(unchunked(bytes(wire).partition(b"\r\n\r\n")[2]))
    assert [(frame.id, frame.data) for frame in frames] == [(f"{attempt.epoch}-{n + 1}", str(n)) for n in range(121)]
