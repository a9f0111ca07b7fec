"""The tests' own event stream: what it reads, and that it can be cut anywhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.sse import SseStream

WIRE = b'id: 1-1\ndata: {"n":1}\n\nid: 1-2\ndata: {"n":2}\n\n'
PLAIN = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + WIRE
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"".join(
    b"%x\r\n%s\r\n" % (len(part), part) for part in (WIRE[:5], WIRE[5:30], WIRE[30:])
)


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    requests: list[bytes] = []

    async def answer_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer_one, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/events?raw=true", requests


@pytest.mark.parametrize("answer", [PLAIN, CHUNKED + b"0\r\n\r\n"])
async def test_it_reads_every_event_to_the_end_of_the_stream(answer: bytes) -> None:
    async with answering(answer) as (url, requests), SseStream(url, last_event_id="0-0") as stream:
        assert [frame.json async for frame in stream] == [{"n": 1}, {"n": 2}]
        assert stream.status == 200
        assert requests[0].startswith(b"GET /events?raw=true HTTP/1.1\r\n")
        assert b"Last-Event-ID: 0-0\r\n" in requests[0]


@pytest.mark.parametrize("answer", [PLAIN, CHUNKED])
async def test_it_cuts_the_connection_after_so_many_bytes_of_the_body(answer: bytes) -> None:
    async with answering(answer) as (url, _), SseStream(url, cut_after=30) as stream:
        assert [frame.id async for frame in stream] == ["1-1"]
        assert stream.body == WIRE[:30]
