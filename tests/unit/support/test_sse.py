"""The reader of event streams ends when it is cancelled, whatever arrives at that moment."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.sse import SseStream


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("turns", range(6))
async def test_a_cancellation_just_after_data_arrived_ends_the_reader(turns: int, chunked: bool) -> None:
    stream = SseStream("http://127.0.0.1/")
    stream._reader = asyncio.StreamReader()
    stream.headers = {"transfer-encoding": "chunked"} if chunked else {}

    async def read() -> None:
        async for _ in stream.chunks():
            pass

    reading = asyncio.create_task(read())
    await asyncio.sleep(0.01)  # it waits for data now
    stream._reader.feed_data(b"8\r\n: ping\n\n\r\n")
    for _ in range(turns):  # of the event loop
        await asyncio.sleep(0)
    reading.cancel()
    done, _ = await asyncio.wait({reading}, timeout=5)
    assert done
    assert reading.cancelled()
