"""The way out to one client: the head of its response, then chunks, straight into the transport."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

LAST_CHUNK = b"0\r\n\r\n"


class StreamConnection(Protocol):
    """What a transport needs of its connection."""

    @property
    def transport(self) -> asyncio.WriteTransport: ...

    def release(self, *, keep_alive: bool) -> None:
        """The response is complete: wait for the next request, or close."""

    def linger(self) -> None:
        """The response is complete, and the request may still be coming: close once it has come."""


class StreamTransport:
    """Handles a connection while a stream has it: writes body bytes, the first of them in one write with the head.
    `blocked_since` is set while the transport holds more than it should.

    `chunked` is False for HTTP/1.0: the end of the connection ends the body. With `drain_input` the rest of the
    request's body is still to come and is thrown away. Otherwise only empty lines may come behind the request; anything
    else drops the connection.

    `on_writable` is called when it was blocked, is no more, and is not at its end; `on_gone` once, soon after the
    response is whole and taken or the client has left; `on_shutdown` when the server stops."""

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
        """Write. Must not be called while blocked."""
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
        """Drop the connection now, whatever it still holds."""
        if not self.closed:
            self.closed = True
            self._connection.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Drop the connection of a client that sends another request before the stream has ended."""
        if not self._drain_input and data.strip(b"\r\n"):
            self.abort()

    def pause_writing(self) -> None:
        """The transport holds too much."""
        self.blocked_since = asyncio.get_running_loop().time()

    def resume_writing(self) -> None:
        """The client took enough of what the transport held."""
        self.blocked_since = None
        if self._last:
            self._complete()
        elif self.on_writable is not None and not self.closed:
            self.on_writable()

    def connection_lost(self, exc: Exception | None = None) -> None:
        """The client has left, or the connection was dropped."""
        self._end()

    def shutdown(self) -> None:
        """The server stops."""
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
