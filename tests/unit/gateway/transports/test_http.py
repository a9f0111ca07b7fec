from __future__ import annotations

import asyncio
from typing import Any

import pytest
from holdfast.gateway.transports.http import HttpTransport


class Client:
    """A connection that records the calls of the transport."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.aborted = False
        self.completed = False
        self.lingers = False
        self.keep_alive: bool | None = None
        self.writable = 0
        self.gone = 0
        self.transport: Any = self
        self.stream = HttpTransport(self)
        self.stream.on_gone = self.note_gone
        self.stream.on_writable = self.note_writable

    def write(self, data: bytes) -> None:
        self.taken.append(data)

    def abort(self) -> None:
        self.aborted = True

    def release(self, *, keep_alive: bool) -> None:
        self.completed = True
        self.keep_alive = keep_alive

    def linger(self) -> None:
        self.lingers = True

    def note_writable(self) -> None:
        self.writable += 1

    def note_gone(self) -> None:
        self.gone += 1


def blocked(client: Client) -> bool:
    return client.stream.blocked_since is not None


async def test_a_write_is_one_chunk() -> None:
    client = Client()
    client.stream.write(b"x" * 26)
    assert client.taken == [b"1a\r\n" + b"x" * 26 + b"\r\n"]
    assert not blocked(client)


async def test_the_head_is_sent_with_the_first_write_only() -> None:
    client = Client()
    stream = HttpTransport(client, b"head\r\n\r\n")
    for data in (b"a", b"b"):
        stream.write(data)
    assert client.taken == [b"head\r\n\r\n1\r\na\r\n", b"1\r\nb\r\n"]


async def test_an_empty_write_does_not_end_the_response() -> None:
    client = Client()
    client.stream.write(b"")
    assert b"".join(client.taken) == b""


async def test_the_last_write_completes_the_response_and_on_gone_is_called_later() -> None:
    client = Client()
    client.stream.write(b"a", more=False)
    assert client.taken == [b"1\r\na\r\n0\r\n\r\n"]
    assert (client.completed, client.stream.closed, client.gone) == (True, True, 0)
    await asyncio.sleep(0)
    assert client.gone == 1


async def test_a_paused_transport_is_blocked_and_on_writable_is_called_on_each_resume() -> None:
    client = Client()
    client.stream.write(b"a")
    for times in (1, 2):
        client.stream.pause_writing()
        assert (blocked(client), client.writable) == (True, times - 1)
        client.stream.resume_writing()
        assert (blocked(client), client.writable) == (False, times)


async def test_a_closed_transport_writes_nothing_and_calls_no_callback() -> None:
    client = Client()
    client.stream.write(b"a")
    client.stream.pause_writing()
    client.stream.connection_lost()
    client.stream.resume_writing()
    client.stream.write(b"b")
    assert (len(client.taken), client.writable, client.aborted) == (1, 0, False)


async def test_an_aborted_transport_drops_the_connection_once() -> None:
    client = Client()
    client.stream.abort()
    assert client.aborted
    client.aborted = False
    client.stream.abort()
    assert not client.aborted


async def test_on_gone_is_called_once_even_after_a_complete_response() -> None:
    client = Client()
    client.stream.write(b"", more=False)
    client.stream.connection_lost()
    await asyncio.sleep(0)
    assert client.gone == 1


async def test_a_complete_response_ends_only_when_the_client_has_taken_it() -> None:
    client = Client()
    client.stream.pause_writing()
    client.stream.write(b"a", more=False)
    await asyncio.sleep(0)
    assert (client.completed, client.gone) == (False, 0)
    client.stream.resume_writing()
    await asyncio.sleep(0)
    assert (client.completed, client.gone, client.writable) == (True, 1, 0)


async def test_a_client_that_does_not_read_the_end_can_be_dropped() -> None:
    client = Client()
    client.stream.pause_writing()
    client.stream.write(b"a", more=False)
    client.stream.abort()
    assert client.aborted


async def test_a_response_without_chunked_encoding_has_only_its_bytes() -> None:
    client = Client()
    stream = HttpTransport(client, b"head\r\n\r\n", chunked=False, keep_alive=False)
    stream.write(b"a")
    stream.write(b"b", more=False)
    assert client.taken == [b"head\r\n\r\na", b"b"]
    assert client.keep_alive is False


@pytest.mark.parametrize(("data", "dropped"), [(b"\r\n", False), (b"\r\nG", True), (b"GET / HTTP/1.1\r\n", True)])
async def test_input_other_than_empty_lines_during_a_stream_drops_the_connection(data: bytes, dropped: bool) -> None:
    client = Client()
    client.stream.data_received(data)
    assert client.aborted is dropped


async def test_the_rest_of_the_request_body_is_discarded() -> None:
    client = Client()
    stream = HttpTransport(client, drain_input=True)
    stream.data_received(b"GET / HTTP/1.1\r\n")
    assert not client.aborted
    stream.write(b"a", more=False)
    assert (client.lingers, client.completed) == (True, False)
