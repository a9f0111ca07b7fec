from __future__ import annotations

import asyncio
from typing import Any

import pytest
from holdfast.gateway.stream.outlet import Outlet


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
        self.outlet = Outlet(self)
        self.outlet.on_gone = self.note_gone
        self.outlet.on_writable = self.note_writable

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
    return client.outlet.blocked_since is not None


async def test_a_write_is_one_chunk() -> None:
    client = Client()
    client.outlet.write(b"x" * 26)
    assert client.taken == [b"1a\r\n" + b"x" * 26 + b"\r\n"]
    assert not blocked(client)


async def test_the_head_goes_with_the_first_write_and_no_other() -> None:
    client = Client()
    outlet = Outlet(client, b"head\r\n\r\n")
    for data in (b"a", b"b"):
        outlet.write(data)
    assert client.taken == [b"head\r\n\r\n1\r\na\r\n", b"1\r\nb\r\n"]


async def test_a_write_of_nothing_does_not_end_the_response() -> None:
    client = Client()
    client.outlet.write(b"")
    assert b"".join(client.taken) == b""


async def test_the_last_write_ends_the_response_in_one_piece_and_is_told_soon_not_at_once() -> None:
    client = Client()
    client.outlet.write(b"a", more=False)
    assert client.taken == [b"1\r\na\r\n0\r\n\r\n"]
    assert (client.completed, client.outlet.closed, client.gone) == (True, True, 0)
    await asyncio.sleep(0)
    assert client.gone == 1


async def test_a_paused_outlet_is_blocked_until_it_resumes_and_says_so_each_time() -> None:
    client = Client()
    client.outlet.write(b"a")
    for times in (1, 2):
        client.outlet.pause_writing()
        assert (blocked(client), client.writable) == (True, times - 1)
        client.outlet.resume_writing()
        assert (blocked(client), client.writable) == (False, times)


async def test_a_closed_outlet_writes_nothing_and_calls_nobody() -> None:
    client = Client()
    client.outlet.write(b"a")
    client.outlet.pause_writing()
    client.outlet.connection_lost()
    client.outlet.resume_writing()
    client.outlet.write(b"b")
    assert (len(client.taken), client.writable, client.aborted) == (1, 0, False)


async def test_an_outlet_that_is_aborted_drops_the_connection_once() -> None:
    client = Client()
    client.outlet.abort()
    assert client.aborted
    client.aborted = False
    client.outlet.abort()
    assert not client.aborted


async def test_a_client_that_leaves_is_told_once_even_if_the_response_was_whole_before() -> None:
    client = Client()
    client.outlet.write(b"", more=False)
    client.outlet.connection_lost()
    await asyncio.sleep(0)
    assert client.gone == 1


async def test_a_response_that_is_whole_but_not_taken_stays_the_clients_own_until_it_is() -> None:
    client = Client()
    client.outlet.pause_writing()
    client.outlet.write(b"a", more=False)
    await asyncio.sleep(0)
    assert (client.completed, client.gone) == (False, 0)
    client.outlet.resume_writing()
    await asyncio.sleep(0)
    assert (client.completed, client.gone, client.writable) == (True, 1, 0)


async def test_a_client_that_does_not_take_the_end_can_be_dropped() -> None:
    client = Client()
    client.outlet.pause_writing()
    client.outlet.write(b"a", more=False)
    client.outlet.abort()
    assert client.aborted


async def test_a_response_without_chunks_is_its_bytes_alone() -> None:
    client = Client()
    outlet = Outlet(client, b"head\r\n\r\n", chunked=False, keep_alive=False)
    outlet.write(b"a")
    outlet.write(b"b", more=False)
    assert client.taken == [b"head\r\n\r\na", b"b"]
    assert client.keep_alive is False


@pytest.mark.parametrize(("data", "dropped"), [(b"\r\n", False), (b"\r\nG", True), (b"GET / HTTP/1.1\r\n", True)])
async def test_whoever_sends_more_than_an_empty_line_behind_a_request_for_a_stream_is_dropped(
    data: bytes, dropped: bool
) -> None:
    client = Client()
    client.outlet.data_received(data)
    assert client.aborted is dropped


async def test_a_body_that_is_still_to_come_is_thrown_away() -> None:
    client = Client()
    outlet = Outlet(client, drain_input=True)
    outlet.data_received(b"GET / HTTP/1.1\r\n")
    assert not client.aborted
    outlet.write(b"a", more=False)
    assert (client.lingers, client.completed) == (True, False)
