"""An event stream over a WebSocket (RFC 6455), written directly to its asyncio transport."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from holdfast.gateway.transports.connection import Connection
from holdfast.gateway.transports.inbox import Answer, Inbox
from holdfast.gateway.transports.websocket_frames import (
    CLOSE,
    NO_STATUS_CLOSE,
    NORMAL,
    PING,
    POLICY_VIOLATION,
    PONG,
    TEXT,
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
        *("_answer", "_close_sent", "_connection", "_head", "_inbox", "_last", "_max_bytes", "_paused"),
        *("_reader", "_turn_due", "_unsent", "blocked_since", "closed", "on_gone", "on_shutdown", "on_writable"),
    )

    new_reader = WebSocketReader

    def __init__(self, connection: Connection, head: bytes, answer: Answer, max_bytes: int) -> None:
        self._connection = connection
        self._head = head
        self._answer = answer
        self._max_bytes = max_bytes
        self._inbox: Inbox | None = None
        self._reader: WebSocketReader | None = None
        self._paused = False
        self._turn_due = False
        self._unsent: dict[int, bytes] | None = None  # the newest pong and a reply, while the client takes nothing
        self._last: bytes | None = None  # what ends the stream, from the call of `write` on
        self._close_sent = False
        self.on_writable: Callable[[], None] | None = None
        self.on_gone: Callable[[], None] | None = None
        self.on_shutdown: Callable[[], None] | None = None
        self.blocked_since: float | None = None
        self.closed = False

    def write(self, data: bytes, *, more: bool = True) -> None:
        """Write frames; `more=False` closes, with code 1000 if the frames have no close frame.

        What ends the stream is sent behind the replies to the messages that are being carried out."""
        if self.closed or self._last is not None:
            return
        if more:
            self._put(data)
        else:
            self._last = data if is_close(data) else data + _NORMAL_CLOSE
            self._end_if_idle()

    def abort(self) -> None:
        """Drop the connection now and discard unsent bytes."""
        if not self.closed:
            self.closed = True
            self._connection.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._reader is None:
            self._reader = self.new_reader(self._max_bytes)
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
        if self._is_blocked:
            return
        if self._inbox is not None:
            self._inbox.resume()
        if self._last is not None:
            self._end_if_idle()
        elif self.on_writable is not None:
            self.on_writable()

    def connection_lost(self, exc: Exception | None = None) -> None:
        """End the stream: the client disconnected, or the connection was dropped."""
        self._connection.server.message_deadline.stop(self)
        self._end()
        self._reader = None

    def shutdown(self) -> None:
        """End the stream when the server stops."""
        if self.on_shutdown is not None:
            self.on_shutdown()

    def time_out(self) -> None:
        """Close: a message is still incomplete at its deadline."""
        self._fail(POLICY_VIOLATION, "a message took too long to arrive")

    @property
    def _is_blocked(self) -> bool:
        return self.blocked_since is not None

    def _end_if_idle(self) -> None:
        """Send what ends the stream, if it was written and no message is being carried out."""
        if self._last is None or self._close_sent or self._is_blocked or self.closed:
            return
        if self._inbox is None or self._inbox.is_idle:
            self._close_sent = True
            self._put(self._last)
            if not self._is_blocked:
                self._complete()

    def _put(self, data: bytes) -> None:
        if self._head:
            data, self._head = self._head + data, b""
        self._connection.transport.write(data)

    def _put_later_if_blocked(self, opcode: int, data: bytes) -> None:
        """Write a frame, or keep it until the client takes something; only the newest frame of an opcode is kept."""
        if self._close_sent:
            return
        if not self._is_blocked:
            self._put(data)
        else:
            self._unsent = (self._unsent or {}) | {opcode: data}

    def _reply(self, text: bytes) -> None:
        self._put_later_if_blocked(TEXT, text_frame(text))
        if self._is_blocked and self._inbox is not None:
            self._inbox.pause()

    def _on_inbox_change(self) -> None:
        self._turn()
        self._end_if_idle()

    def _turn(self) -> None:
        """Process received frames, at most FRAMES_PER_TURN of them; the rest in the next iteration of the loop."""
        self._turn_due = False
        try:
            for _ in range(FRAMES_PER_TURN):
                received = None if self._reader is None or self._is_full else self._reader.next()
                if received is None:
                    break
                self._process(received)
                if self._reader is not None and not self._reader.is_within_message:
                    self._connection.server.message_deadline.stop(self)  # the next message gets its own
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
            self._connection.server.message_deadline.stop(self)
        else:
            self._connection.server.message_deadline.start(self)
        paused, transport = full or self._turn_due, self._connection.transport
        if paused != self._paused and not transport.is_closing():
            self._paused = paused
            if paused:
                transport.pause_reading()
            else:
                transport.resume_reading()

    def _process(self, received: Received) -> None:
        opcode, payload = received
        if opcode == CLOSE:
            self._answer_close(payload)
        elif self._last is not None:
            return
        elif opcode == PING:
            self._put_later_if_blocked(PONG, frame(PONG, payload))
        elif opcode == TEXT:
            if self._inbox is None:
                self._inbox = Inbox(self._connection.server.tasks, self._answer, self._reply, self._on_inbox_change)
            self._inbox.add(payload)

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
        self._connection.server.message_deadline.stop(self)
        if self._close_sent:
            self._connection.transport.close()
            return
        self._close_sent = True
        self._put(close_frame(code, reason))
        self._end()
        if self._paused:
            self._paused = False
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
