"""The way out to one client: the head of its response, then chunks, straight into the transport."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

LAST_CHUNK = b"0\r\n\r\n"


class Connection(Protocol):
    """What an outlet needs of the connection that was handed over to it."""

    @property
    def transport(self) -> asyncio.WriteTransport: ...

    def complete(self) -> None:
        """The response is whole: the connection is free for the next request."""


class Outlet:
    """Writes body bytes, the first of them in one piece with the head, which is on its way only then. `blocked_since`
    is set while the transport holds more than it should.

    `on_writable` is called when it was blocked, is no more, and is not at its end; `on_gone` once, soon after the
    response is whole and taken or the client has left; `on_shutdown` when the server stops."""

    __slots__ = ("_connection", "_head", "_last", "blocked_since", "closed", "on_gone", "on_shutdown", "on_writable")

    def __init__(self, connection: Connection, head: bytes = b"") -> None:
        self._connection = connection
        self._head = head
        self.on_writable: Callable[[], None] | None = None
        self.on_gone: Callable[[], None] | None = None
        self.on_shutdown: Callable[[], None] | None = None
        self.blocked_since: float | None = None
        self.closed = False
        self._last = False

    def write(self, data: bytes, *, more: bool = True) -> None:
        """Write. Must not be called while blocked."""
        if self.closed:
            return
        chunk = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
        if self._head:
            chunk, self._head = self._head + chunk, b""
        self._connection.transport.write(chunk if more else chunk + LAST_CHUNK)
        if not more:
            self._last = True
            if self.blocked_since is None:
                self._complete()

    def abort(self) -> None:
        """Drop the connection now, whatever it still holds."""
        if not self.closed:
            self.closed = True
            self._connection.transport.abort()

    def pause(self) -> None:
        """The transport: it holds too much."""
        self.blocked_since = asyncio.get_running_loop().time()

    def resume(self) -> None:
        """The transport: the client took enough of it."""
        self.blocked_since = None
        if self._last:
            self._complete()
        elif self.on_writable is not None and not self.closed:
            self.on_writable()

    def gone(self) -> None:
        """The response is whole and taken, or the client has left."""
        self.closed = True
        self.on_writable = None
        on_gone, self.on_gone = self.on_gone, None
        if on_gone is not None:
            asyncio.get_running_loop().call_soon(on_gone)

    def _complete(self) -> None:
        if not self.closed:
            self.gone()
            self._connection.complete()
