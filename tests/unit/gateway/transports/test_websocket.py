from __future__ import annotations

import asyncio
from typing import Any

import pytest
from holdfast.gateway.transports.deadline import Deadline
from holdfast.gateway.transports.websocket import FRAMES_PER_TURN, WebSocketTransport
from holdfast.gateway.transports.websocket_frames import CLOSE, PING, PONG, TEXT, close_frame, text_frame

from tests.support.process import until
from tests.support.websocket_frames import ServerFrame, client_frame, server_frames

NORMAL = ServerFrame(CLOSE, (1000).to_bytes(2))


class Client:
    """A connection that records the calls of the transport. `answers`: one message is answered per item put there."""

    def __init__(self, max_bytes: int = 1000) -> None:
        self.transport: Any = self
        self.server: Any = self
        self.lingering: Deadline[Any] = Deadline(60, lambda _: None)
        self.message_deadline: Deadline[Any] = Deadline(60, lambda one: one.time_out())
        self.tasks: set[asyncio.Task[None]] = set()
        self.wire = b""
        self.reading = True
        self.closed = self.aborted = self.half_closed = False
        self.gone = 0
        self.asked: list[bytes] = []
        self.answers: asyncio.Queue[bytes] = asyncio.Queue()
        self.stream = WebSocketTransport(self, b"", self.answer, max_bytes)  # type: ignore[arg-type]
        self.stream.on_gone = self.note_gone

    async def answer(self, text: bytes) -> bytes:
        self.asked.append(text)
        return await self.answers.get()

    def send(self, *frames: bytes) -> None:
        self.stream.data_received(b"".join(frames))

    @property
    def frames(self) -> list[ServerFrame]:
        return server_frames(self.wire)

    def note_gone(self) -> None:
        self.gone += 1

    # What a connection and its asyncio transport have.
    def write(self, data: bytes) -> None:
        self.wire += data

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        assert not self.aborted
        self.closed = self.aborted = True

    def linger(self) -> None:
        self.half_closed = True


def reads(client: Client) -> bool:
    return client.reading


def text(content: str) -> bytes:
    return client_frame(TEXT, content.encode())


async def test_frames_are_written_as_they_are_behind_the_head() -> None:
    client = Client()
    stream = WebSocketTransport(client, b"head\r\n\r\n", client.answer, 1000)  # type: ignore[arg-type]
    stream.write(text_frame(b"a"))
    stream.write(text_frame(b"b"))
    assert client.wire == b"head\r\n\r\n" + text_frame(b"a") + text_frame(b"b")


class TestMessages:
    async def test_the_gateway_reads_one_message_ahead_and_no_further(self) -> None:
        client = Client()
        client.send(text("1"))
        await until(lambda: client.asked == [b"1"])
        assert reads(client)
        client.send(text("2"), client_frame(PING, b"behind"), text("3"))
        assert (reads(client), client.frames) == (False, [])
        client.answers.put_nowait(b"one")
        await until(lambda: client.asked == [b"1", b"2"])
        assert not reads(client)
        client.answers.put_nowait(b"two")
        await until(lambda: client.asked == [b"1", b"2", b"3"])
        assert reads(client)
        assert client.frames == [(TEXT, b"one"), (PONG, b"behind"), (TEXT, b"two")]

    async def test_many_frames_take_several_turns_of_the_loop(self) -> None:
        client = Client()
        client.send(*[client_frame(PING, b"p")] * (FRAMES_PER_TURN + 1))
        assert len(client.frames) == FRAMES_PER_TURN
        assert not reads(client)
        await until(lambda: len(client.frames) == FRAMES_PER_TURN + 1)
        assert reads(client)

    async def test_nothing_is_carried_out_while_the_client_takes_no_replies(self) -> None:
        client = Client()
        client.send(text("1"))
        await until(lambda: client.asked == [b"1"])
        client.stream.pause_writing()
        client.answers.put_nowait(b"one")
        client.send(text("2"))
        await until(client.answers.empty)
        await asyncio.sleep(0)
        assert (client.frames, client.asked) == ([], [b"1"])
        client.stream.resume_writing()
        await until(lambda: client.asked == [b"1", b"2"])
        assert client.frames == [(TEXT, b"one")]

    async def test_only_the_newest_ping_is_answered_once_the_client_takes_something(self) -> None:
        client = Client()
        client.stream.pause_writing()
        client.send(*[client_frame(PING, b"%d" % number) for number in range(100)])
        client.stream.resume_writing()
        assert client.frames == [(PONG, b"99")]

    async def test_a_message_has_a_deadline_until_it_is_complete(self) -> None:
        client = Client()
        client.send(client_frame(TEXT, b"a", final=False))
        assert len(client.message_deadline) == 1
        client.send(client_frame(PING), client_frame(0, b"b"))
        assert len(client.message_deadline) == 0
        client.send(b"\x81")
        client.stream.time_out()
        assert client.frames[-1] == ServerFrame(CLOSE, (1008).to_bytes(2) + b"a message took too long to arrive")
        assert client.half_closed

    async def test_a_frame_between_messages_has_a_deadline_of_its_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        client, ping = Client(), client_frame(PING, b"p")
        stopped: list[object] = []
        client.send(ping[:3])
        monkeypatch.setattr(client.message_deadline, "stop", stopped.append)
        client.send(ping[3:] + ping[:3])
        assert stopped == [client.stream]


class TestClosing:
    async def test_the_gateway_waits_for_the_close_frame_of_the_client(self) -> None:
        client = Client()
        client.stream.write(b"", more=False)
        await until(lambda: client.gone == 1)
        assert (client.frames, client.closed, len(client.lingering)) == ([NORMAL], False, 1)
        client.send(text("late"), client_frame(PING), client_frame(CLOSE, (1000).to_bytes(2)))
        assert (client.frames, client.closed, client.asked) == ([NORMAL], True, [])

    async def test_a_close_frame_of_the_dialect_is_the_only_one(self) -> None:
        client = Client()
        client.stream.write(close_frame(1013, "retry=1"), more=False)
        client.stream.write(text_frame(b"late"))
        assert client.frames == [ServerFrame(CLOSE, (1013).to_bytes(2) + b"retry=1")]

    async def test_the_close_frame_of_a_client_is_answered_once(self) -> None:
        client = Client()
        client.send(client_frame(CLOSE), text("late"))
        client.stream.write(text_frame(b"late"))
        await until(lambda: client.gone == 1)
        assert (client.frames, client.closed, client.asked) == ([(CLOSE, b"")], True, [])

    async def test_a_broken_frame_discards_the_rest_of_the_input(self) -> None:
        client = Client()
        client.send(client_frame(TEXT, b"x", masked=False), text("late"))
        await until(lambda: client.gone == 1)
        assert [frame.opcode for frame in client.frames] == [CLOSE]
        assert (client.half_closed, client.asked) == (True, [])

    @pytest.mark.parametrize("end", [client_frame(CLOSE), client_frame(TEXT, b"x", masked=False)])
    async def test_messages_in_front_of_the_end_are_carried_out(self, end: bytes) -> None:
        client = Client()
        client.answers.put_nowait(b"one")
        client.send(text("1"), text("STOP"), end)
        await until(lambda: client.asked == [b"1", b"STOP"])
        await until(lambda: client.gone == 1)
        assert [frame.opcode for frame in client.frames if frame.opcode == CLOSE] == [CLOSE]

    async def test_a_message_is_carried_out_though_its_client_is_gone(self) -> None:
        client = Client()
        client.send(text("STOP"))
        client.stream.connection_lost(None)
        await until(lambda: client.asked == [b"STOP"])

    async def test_a_reply_that_is_late_is_dropped(self) -> None:
        client = Client()
        client.send(text("1"))
        await until(lambda: client.asked == [b"1"])
        client.stream.connection_lost(None)
        client.answers.put_nowait(b"one")
        await until(client.answers.empty)
        await asyncio.sleep(0)
        assert client.frames == []

    async def test_nothing_is_written_behind_an_abort(self) -> None:
        client = Client()
        client.send(text("1"))
        await until(lambda: client.asked == [b"1"])
        client.stream.write(b"", more=False)
        client.stream.abort()
        client.stream.abort()
        client.stream.write(text_frame(b"late"))
        client.stream.connection_lost(None)
        client.answers.put_nowait(b"one")
        await until(lambda: not client.tasks)
        assert (client.aborted, client.frames) == (True, [])

    async def test_the_end_waits_for_a_client_that_takes_no_replies(self) -> None:
        client = Client()
        client.send(text("1"), text("2"))
        await until(lambda: client.asked == [b"1"])
        client.stream.write(close_frame(1013), more=False)
        client.stream.pause_writing()
        client.answers.put_nowait(b"one")
        client.answers.put_nowait(b"two")
        await until(lambda: not client.tasks)
        assert client.frames == []
        client.stream.resume_writing()
        await until(lambda: client.gone == 1)
        assert client.frames == [(TEXT, b"one"), (TEXT, b"two"), (CLOSE, (1013).to_bytes(2))]

    @pytest.mark.parametrize("lost_first", [True, False])
    async def test_the_end_is_reported_once(self, *, lost_first: bool) -> None:
        client = Client()
        if not lost_first:
            client.stream.write(b"", more=False)
        client.stream.connection_lost(None)
        await until(lambda: client.gone > 0)
        assert client.gone == 1
