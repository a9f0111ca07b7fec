"""What a connection does around a stream that has taken it over, on a real port."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest
from holdfast.gateway.transports.uvicorn import StreamProtocol

from tests.support.log import Session
from tests.support.process import until
from tests.support.streams import Streams, streams

LAST_CHUNK = b"\r\n0\r\n\r\n"


@pytest.fixture
async def served(redis_url: str) -> AsyncIterator[Streams]:
    async with streams(redis_url) as served:
        yield served


class Connection:
    """A plain client that sends what it likes on one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, served: Streams) -> Connection:
        return cls(*await asyncio.open_connection("127.0.0.1", served.port))

    def get(self, path: str, *headers: str, body: bytes = b"") -> None:
        head = "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *headers, "", ""])
        self.writer.write(head.encode() + body)

    async def until(self, end: bytes) -> bytes:
        return await asyncio.wait_for(self.reader.readuntil(end), 20)

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


async def test_a_stream_that_ended_leaves_its_connection_to_the_next_request(served: Streams, session: Session) -> None:
    attempt = await session.started()
    await session.finish(attempt, 1)
    client = await Connection.open(served)
    for _ in range(3):
        client.get("/s/j1")
        answer = await client.until(LAST_CHUNK)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b'"job.completed"' in answer
    await client.close()


@pytest.mark.parametrize("behind", [b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n", b"G", b"\x00"])
async def test_a_request_behind_a_stream_closes_the_connection(
    behind: bytes, served: Streams, session: Session
) -> None:
    await session.started()
    client = await Connection.open(served)
    client.get("/s/j1")
    await client.until(b'"job.started"')
    client.writer.write(behind)
    rest = await asyncio.wait_for(client.reader.read(-1), 20)
    assert b"HTTP/1.1" not in rest
    assert not rest.endswith(LAST_CHUNK)
    await until(lambda: served.hub.counters.viewers == 0)
    await client.close()


async def test_an_empty_line_behind_a_request_is_passed_over(served: Streams, session: Session) -> None:
    attempt = await session.started()
    client = await Connection.open(served)
    client.get("/s/j1")
    client.writer.write(b"\r\n")
    await client.until(b'"job.started"')
    client.writer.write(b"\r\n")
    await session.finish(attempt, 1)
    await client.until(LAST_CHUNK)
    client.get("/s/j1")
    assert (await client.until(LAST_CHUNK)).startswith(b"HTTP/1.1 200 OK")
    await client.close()


@pytest.mark.parametrize("behind", [b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /ec", b"no request at all\r\n\r\n"])
async def test_a_request_for_a_stream_with_another_one_behind_it_is_refused(
    behind: bytes, served: Streams, session: Session
) -> None:
    await session.started()
    client = await Connection.open(served)
    client.get("/s/j1", body=behind)
    answer = await asyncio.wait_for(client.reader.read(-1), 20)
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"request_behind_stream" in answer
    assert answer.count(b"HTTP/1.1") == 1
    await client.close()


async def test_a_body_that_comes_after_the_stream_has_begun_is_thrown_away(served: Streams, session: Session) -> None:
    attempt = await session.started()
    client = await Connection.open(served)
    body = b"x" * 2**25
    client.get("/s/j1", f"Content-Length: {len(body)}")
    assert b"connection: close" in await client.until(b'"job.started"')
    client.writer.write(body)
    await asyncio.wait_for(client.writer.drain(), 20)
    await session.finish(attempt, 1)
    assert (await asyncio.wait_for(client.reader.read(-1), 20)).endswith(LAST_CHUNK)
    await client.close()


async def test_a_client_that_wants_no_more_after_the_stream_is_let_go(served: Streams, session: Session) -> None:
    attempt = await session.started()
    await session.finish(attempt, 1)
    client = await Connection.open(served)
    client.get("/s/j1", "Connection: close")
    answer = await asyncio.wait_for(client.reader.read(-1), 20)
    assert b"connection: close" in answer
    assert answer.endswith(LAST_CHUNK)
    await client.close()


async def test_a_viewer_that_leaves_is_forgotten_at_once(served: Streams, session: Session) -> None:
    await session.started()
    client = await Connection.open(served)
    client.get("/s")
    await client.until(b'"job.started"')
    assert served.hub.counters.viewers == 1
    await client.close()
    await until(lambda: served.hub.counters.viewers == 0)


async def test_a_stream_keeps_no_task_of_its_request(served: Streams, session: Session) -> None:
    await session.started()
    before = len(asyncio.all_tasks())
    clients = [await Connection.open(served) for _ in range(20)]
    for client in clients:
        client.get("/s")
        await client.until(b'"job.started"')
    await until(lambda: len(asyncio.all_tasks()) <= before)
    for client in clients:
        await client.close()
    await until(lambda: served.hub.counters.viewers == 0)


@pytest.mark.parametrize("behind", [b"", b"GET /s HTTP/1.1\r\nHost: x\r\n\r\n", b"no request at all\r\n\r\n"])
async def test_a_client_that_left_before_the_head_is_no_viewer(
    behind: bytes,
    served: Streams,
    session: Session,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await session.started()
    gate, asked = asyncio.Event(), asyncio.Event()
    job = session.sessions.job

    async def slow(session_id: str, job_id: str) -> object:
        asked.set()
        await gate.wait()
        return await job(session_id, job_id)

    monkeypatch.setattr("holdfast.shared.sessions.Sessions.job", lambda _, *names: slow(*names))
    client = await Connection.open(served)
    client.get("/s/j1", body=behind)
    await asyncio.wait_for(asked.wait(), 20)
    connections = served.server.server_state.connections
    for connection in tuple(connections):
        connection.transport.abort()  # by itself it notices late, as it does not read while a request waits in line
    await until(lambda: not connections)
    gate.set()
    await until(lambda: not served.server.server_state.tasks)
    assert served.hub.counters.viewers == 0
    assert not caplog.records
    await client.close()


async def test_a_stream_that_begins_once_all_have_been_sent_away_is_sent_away_as_well(
    served: Streams, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    await session.started()
    hand_over = StreamProtocol.hand_over

    async def late(*arguments: Any) -> Any:
        transport = await hand_over(*arguments)
        served.hub.end_all()
        return transport

    monkeypatch.setattr(StreamProtocol, "hand_over", late)
    client = await Connection.open(served)
    client.get("/s")
    assert b"retry:" in await client.until(LAST_CHUNK)
    await client.close()


async def test_a_connection_that_is_reset_at_rest_keeps_nothing_waiting(served: Streams, session: Session) -> None:
    attempt = await session.started()
    await session.finish(attempt, 1)
    client = await Connection.open(served)
    client.get("/s/j1")
    await client.until(LAST_CHUNK)
    idle = served.http.idle
    await until(lambda: len(idle) == 1)
    client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.writer.transport.abort()
    await until(lambda: not served.server.server_state.connections)
    assert not len(idle)
