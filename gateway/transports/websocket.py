"""An event stream over a WebSocket (RFC 6455), written directly to its asyncio transport."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from holdfast.gateway.transports.connection import Connection
from holdfast.gateway.transports.inbox import Answer, Inbox
from holdfast.gateway.transports.websocket_frames import (
    BINARY,
    CLOSE,
    NO_STATUS_CLOSE,
    NORMAL,
    PING,
    POLICY_VIOLATION,
    PONG,
    TEXT,
    UNSUPPORTED_DATA,
    close_frame,
    frame,
    is_close,
    text_frame,
)
from holdfast.gateway.transports.websocket_reader import ProtocolViolation, Received, WebSocketReader, close_code

MAX_MESSAGE_BYTES = 1024 * 1024
FRAMES_PER_TURN = 256  # of a client, in one iteration of the event loop
_NORMAL_CLOSE = close_frame(NORMAL)


class WebSocketTransport:
    """A Transport, and the handler of a connection after its upgrade. What is written consists of whole frames.

    The reader exists only while a frame or message is incomplete, the inbox from the first message on.

    Args:
        head: the head of the response, sent in one write with the first frames.
        answer: answers a text message of the client.
        max_bytes: the largest message that the client may send.
    """

    __slots__ = (
        *("_answer", "_close_sent", "_connection", "_head", "_inbox", "_max_bytes", "_paused"),
        *("_reader", "_turn_due", "_unsent", "blocked_since", "closed", "on_gone", "on_shutdown", "on_writable"),
    )

    def __init__(
        self,
        connection: Connection,
        head: bytes,
        answer: Answer,
        max_bytes: int,
    ) -> None:
        self._connection = connection
        self._head = head
        self._answer = answer
        self._max_bytes = max_bytes
        self._inbox: Inbox | None = None
        self._reader: WebSocketReader | None = None
        self._paused = False
        self._turn_due = False
        self._unsent: dict[int, bytes] | None = None  # the newest pong and a reply, while the client takes nothing
        self._close_sent = False
        self.on_writable: Callable[[], None] | None = None
        self.on_gone: Callable[[], None] | None = None
        self.on_shutdown: Callable[[], None] | None = None
        self.blocked_since: float | None = None
        self.closed = False

    def write(self, data: bytes, *, more: bool = True) -> None:
        """Write frames; `more=False` closes, with code 1000 if the frames have no close frame."""
        if self.closed or self._close_sent:
            return
        if not more:
            self._close_sent = True
            data = data if is_close(data) else data + _NORMAL_CLOSE
        self._put(data)
        if not more and self.blocked_since is None:
            self._complete()

    def abort(self) -> None:
        """Drop the connection now and discard unsent bytes."""
        if not self.closed:
            self.closed = True
            self._connection.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._reader is None:
            self._reader = WebSocketReader(self._max_bytes)
        self._reader.feed(data)
        if not self._turn_due:
            self._turn()

    def pause_writing(self) -> None:
        """Note that the write buffer exceeded its high-water mark."""
        self.blocked_since = asyncio.get_running_loop().time()

    def resume_writing(self) -> None:
        """Continue: the write buffer has drained."""
        self.blocked_since = None
        if self._close_sent:
            self._complete()
            return
        if self._unsent:
            self._put(b"".join(self._unsent.values()))
            self._unsent = None
        if _is_blocked(self):
            return
        if self._inbox is not None:
            self._inbox.resume()
        if self.on_writable is not None:
            self.on_writable()

    def connection_lost(self, exc: Exception | None = None) -> None:
        """End the stream: the client disconnected, or the connection was dropped."""
        self._connection.server.messages.stop(self)
        self._end()
        self._reader = None

    def shutdown(self) -> None:
        """End the stream when the server stops."""
        if self.on_shutdown is not None:
            self.on_shutdown()

    def time_out(self) -> None:
        """Close: a message is still incomplete at its deadline."""
        self._fail(POLICY_VIOLATION, "a message took too long to arrive")

    def _put(self, data: bytes) -> None:
        if self._head:
            data, self._head = self._head + data, b""
        self._connection.transport.write(data)

    def _put_later_if_blocked(self, opcode: int, data: bytes) -> None:
        """Write a frame, or keep it until the client takes something; only the newest frame of an opcode is kept."""
        if self._close_sent:
            return
        if self.blocked_since is None:
            self._put(data)
        else:
            self._unsent = (self._unsent or {}) | {opcode: data}

    def _reply(self, text: bytes) -> None:
        self._put_later_if_blocked(TEXT, text_frame(text))
        if self.blocked_since is not None and self._inbox is not None:
            self._inbox.pause()

    def _turn(self) -> None:
        """Process received frames, at most FRAMES_PER_TURN of them; the rest in the next iteration of the loop."""
        self._turn_due = False
        try:
            for _ in range(FRAMES_PER_TURN):
                received = None if self._reader is None or self._is_full else self._reader.next()
                if received is None:
                    break
                self._process(received)
            else:
                self._turn_due = True
                asyncio.get_running_loop().call_soon(self._turn)
        except ProtocolViolation as violation:
            self._fail(violation.code, violation.reason)
            return
        self._settle()

    @property
    def _is_full(self) -> bool:
        return self._inbox is not None and self._inbox.is_full and not self._close_sent

    def _settle(self) -> None:
        """Read on or not, depending on what is left of the received bytes."""
        reader, full = self._reader, self._is_full
        if reader is not None and reader.is_empty:
            self._reader = reader = None
        if reader is None or full:
            self._connection.server.messages.stop(self)
        else:
            self._connection.server.messages.start(self)
        if (full or self._turn_due) is not self._paused and not self._connection.transport.is_closing():
            self._paused = not self._paused
            transport = self._connection.transport
            transport.pause_reading() if self._paused else transport.resume_reading()

    def _process(self, received: Received) -> None:
        opcode, payload = received
        if opcode == CLOSE:
            self._answer_close(payload)
        elif self._close_sent:
            return
        elif opcode == PING:
            self._put_later_if_blocked(PONG, frame(PONG, payload))
        elif opcode == TEXT:
            self._connection.server.messages.stop(self)  # the next message gets its own
            if self._inbox is None:
                self._inbox = Inbox(self._answer, self._reply, self._turn)
            self._inbox.add(payload)
        elif opcode == BINARY:
            raise ProtocolViolation(UNSUPPORTED_DATA, "only text messages are accepted")

    def _answer_close(self, payload: bytes) -> None:
        """Close the connection with the client's code, unless this is the reply to the close frame of the gateway."""
        code = close_code(payload)
        if not self._close_sent:
            self._close_sent = True
            self._put(NO_STATUS_CLOSE if code is None else close_frame(code))
        self._reader = None
        self._end()
        self._connection.server.lingering.start(self._connection)
        self._connection.transport.close()

    def _fail(self, code: int, reason: str) -> None:
        """Close because of what the client sent. The rest of it is discarded."""
        self._reader = None
        self._connection.server.messages.stop(self)
        if self._close_sent:
            self._connection.transport.close()
            return
        self._close_sent = True
        self._put(close_frame(code, reason))
        self._end()
        if self._paused:
            self._connection.transport.resume_reading()
        self._connection.linger()

    def _complete(self) -> None:
        """End the stream after the gateway's close frame, and wait for the client's."""
        if not self.closed:
            self._end()
            self._connection.server.lingering.start(self._connection)
            self._turn()

    def _end(self) -> None:
        self.closed = True
        self.on_writable = self.on_shutdown = None
        if self._inbox is not None:
            self._inbox.close()
        on_gone, self.on_gone = self.on_gone, None
        if on_gone is not None:
            asyncio.get_running_loop().call_soon(on_gone)


def _is_blocked(transport: WebSocketTransport) -> bool:
    return transport.blocked_since is not None  # which a write may have changed
