"""An event stream as an HTTP response, written directly to its asyncio transport: the head, then chunks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Protocol

from holdfast.gateway.coding import Coding, Encoder

LAST_CHUNK = b"0\r\n\r\n"


class StreamConnection(Protocol):
    """What a stream transport needs of its connection."""

    @property
    def transport(self) -> asyncio.WriteTransport: ...

    def release(self, *, keep_alive: bool) -> None:
        """Called after a complete response: wait for the next request, or close."""

    def linger(self) -> None:
        """Called after a complete response to an incomplete request: close once the request has arrived."""


class HttpTransport:
    """A Transport, and the handler of a connection while it carries a stream.

    Args:
        head: status line and header fields; sent in one write with the first bytes of the body.
        chunked: False for HTTP/1.0, where closing the connection ends the body.
        keep_alive: keep the connection for another request after the stream.
        drain_input: the rest of the request body is still expected, and is discarded. Otherwise anything but empty
            lines after the request drops the connection.
    """

    __slots__ = (
        *("_chunked", "_connection", "_drain_input", "_head", "_keep_alive", "_last"),
        *("blocked_since", "closed", "on_gone", "on_shutdown", "on_writable"),
    )

    def __init__(
        self,
        connection: StreamConnection,
        head: bytes = b"",
        *,
        chunked: bool = True,
        keep_alive: bool = True,
        drain_input: bool = False,
    ) -> None:
        self._connection = connection
        self._head = head
        self._chunked = chunked
        self._keep_alive = keep_alive
        self._drain_input = drain_input
        self._last = False
        self.on_writable: Callable[[], None] | None = None
        self.on_gone: Callable[[], None] | None = None
        self.on_shutdown: Callable[[], None] | None = None
        self.blocked_since: float | None = None
        self.closed = False

    def write(self, data: bytes, *, more: bool = True) -> None:
        """Write body bytes; `more=False` ends the body. Must not be called while blocked."""
        if self.closed:
            return
        chunk = b"%x\r\n%b\r\n" % (len(data), data) if data and self._chunked else data
        if self._head:
            chunk, self._head = self._head + chunk, b""
        if not more and self._chunked:
            chunk += LAST_CHUNK
        self._connection.transport.write(chunk)
        if not more:
            self._last = True
            if self.blocked_since is None:
                self._complete()

    def abort(self) -> None:
        """Drop the connection now and discard unsent bytes."""
        if not self.closed:
            self.closed = True
            self._connection.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Drop the connection of a client that sends another request before the stream has ended."""
        if not self._drain_input and data.strip(b"\r\n"):
            self.abort()

    def pause_writing(self) -> None:
        """Note that the write buffer exceeded its high-water mark."""
        self.blocked_since = asyncio.get_running_loop().time()

    def resume_writing(self) -> None:
        """Continue, or complete the response: the write buffer has drained."""
        self.blocked_since = None
        if self._last:
            self._complete()
        elif self.on_writable is not None and not self.closed:
            self.on_writable()

    def connection_lost(self, exc: Exception | None = None) -> None:
        """End the stream: the client disconnected, or the connection was dropped."""
        self._end()

    def shutdown(self) -> None:
        """End the stream when the server stops."""
        if self.on_shutdown is not None:
            self.on_shutdown()

    def _complete(self) -> None:
        if not self.closed:
            self._end()
            if self._drain_input:
                self._connection.linger()
            else:
                self._connection.release(keep_alive=self._keep_alive)

    def _end(self) -> None:
        self.closed = True
        self.on_writable = self.on_shutdown = None
        on_gone, self.on_gone = self.on_gone, None
        if on_gone is not None:
            asyncio.get_running_loop().call_soon(on_gone)


class EncodedHttpTransport(HttpTransport):
    """Encodes each write so that the client can decode it immediately. An encoder takes 30 to 90 KiB of memory."""

    __slots__ = ("_encoder",)

    def __init__(self, encoder: Encoder, connection: StreamConnection, head: bytes, **how: bool) -> None:
        super().__init__(connection, head, **how)
        self._encoder = encoder

    def write(self, data: bytes, *, more: bool = True) -> None:
        if not self.closed:
            super().write(self._encoder.encode(data, last=not more), more=more)


def transport_for(coding: Coding | None) -> Callable[..., HttpTransport]:
    """Return the constructor of the transport of a stream with this coding."""
    return HttpTransport if coding is None else partial(EncodedHttpTransport, coding.encoder())


def coding_field(coding: Coding | None) -> bytes:
    """Return the encoded Content-Encoding field of a stream with this coding; empty without one."""
    return b"" if coding is None else b"content-encoding: %b\r\n" % coding.name
