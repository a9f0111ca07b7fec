from __future__ import annotations

import asyncio
from typing import Any

import pytest
from holdfast.gateway.stream.transport import StreamTransport


class Client:
    """A connection that notes what is done to it."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.aborted = False
        self.completed = False
        self.lingers = False
        self.keep_alive: bool | None = None
        self.writable = 0
        self.gone = 0
        self.transport: Any = self
        self.stream = StreamTransport(self)
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


async def test_the_head_goes_with_the_first_write_and_no_other() -> None:
    client = Client()
    stream = StreamTransport(client, b"head\r\n\r\n")
    for data in (b"a", b"b"):
        stream.write(data)
    assert client.taken == [b"head\r\n\r\n1\r\na\r\n", b"1\r\nb\r\n"]


async def test_a_write_of_nothing_does_not_end_the_response() -> None:
    client = Client()
    client.stream.write(b"")
    assert b"".join(client.taken) == b""


async def test_the_last_write_ends_the_response_in_one_piece_and_is_told_soon_not_at_once() -> None:
    client = Client()
    client.stream.write(b"a", more=False)
    assert client.taken == [b"1\r\na\r\n0\r\n\r\n"]
    assert (client.completed, client.stream.closed, client.gone) == (True, True, 0)
    await asyncio.sleep(0)
    assert client.gone == 1


async def test_a_paused_transport_is_blocked_until_it_resumes_and_says_so_each_time() -> None:
    client = Client()
    client.stream.write(b"a")
    for times in (1, 2):
        client.stream.pause_writing()
        assert (blocked(client), client.writable) == (True, times - 1)
        client.stream.resume_writing()
        assert (blocked(client), client.writable) == (False, times)


async def test_a_closed_transport_writes_nothing_and_calls_nobody() -> None:
    client = Client()
    client.stream.write(b"a")
    client.stream.pause_writing()
    client.stream.connection_lost()
    client.stream.resume_writing()
    client.stream.write(b"b")
    assert (len(client.taken), client.writable, client.aborted) == (1, 0, False)


async def test_transport_that_is_aborted_drops_the_connection_once() -> None:
    client = Client()
    client.stream.abort()
    assert client.aborted
    client.aborted = False
    client.stream.abort()
    assert not client.aborted


async def test_a_client_that_leaves_is_told_once_even_if_the_response_was_whole_before() -> None:
    client = Client()
    client.stream.write(b"", more=False)
    client.stream.connection_lost()
    await asyncio.sleep(0)
    assert client.gone == 1


async def test_a_response_that_is_whole_but_not_taken_stays_the_clients_own_until_it_is() -> None:
    client = Client()
    client.stream.pause_writing()
    client.stream.write(b"a", more=False)
    await asyncio.sleep(0)
    assert (client.completed, client.gone) == (False, 0)
    client.stream.resume_writing()
    await asyncio.sleep(0)
    assert (client.completed, client.gone, client.writable) == (True, 1, 0)


async def test_a_client_that_does_not_take_the_end_can_be_dropped() -> None:
    client = Client()
    client.stream.pause_writing()
    client.stream.write(b"a", more=False)
    client.stream.abort()
    assert client.aborted


async def test_a_response_without_chunks_is_its_bytes_alone() -> None:
    client = Client()
    stream = StreamTransport(client, b"head\r\n\r\n", chunked=False, keep_alive=False)
    stream.write(b"a")
    stream.write(b"b", more=False)
    assert client.taken == [b"head\r\n\r\na", b"b"]
    assert client.keep_alive is False


@pytest.mark.parametrize(("data", "dropped"), [(b"\r\n", False), (b"\r\nG", True), (b"GET / HTTP/1.1\r\n", True)])
async def test_whoever_sends_more_than_an_empty_line_behind_a_request_for_a_stream_is_dropped(
    data: bytes, dropped: bool
) -> None:
    client = Client()
    client.stream.data_received(data)
    assert client.aborted is dropped


async def test_a_body_that_is_still_to_come_is_thrown_away() -> None:
    client = Client()
    stream = StreamTransport(client, drain_input=True)
    stream.data_received(b"GET / HTTP/1.1\r\n")
    assert not client.aborted
    stream.write(b"a", more=False)
    assert (client.lingers, client.completed) == (True, False)
