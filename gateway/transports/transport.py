"""What an event stream needs of the connection to its viewer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from holdfast.gateway.transports.connection import Handler


class Transport(Protocol):
    """Carries the bytes of one stream. All calls and callbacks are made in the event loop.

    `blocked_since` is the loop time at which the write buffer exceeded its high-water mark; None while it has not.
    `on_writable` is called when the buffer has drained and the stream has not ended; `on_gone` once, soon after the
    stream was sent completely or the client disconnected; `on_shutdown` when the server stops."""

    on_writable: Callable[[], None] | None
    on_gone: Callable[[], None] | None
    on_shutdown: Callable[[], None] | None
    blocked_since: float | None
    closed: bool

    def write(self, data: bytes, *, more: bool = True) -> None:
        """Write; `more=False` ends the stream. Must not be called while blocked."""

    def abort(self) -> None:
        """Drop the connection now and discard unsent bytes."""


class Stream(Transport, Handler, Protocol):
    """A transport that is the handler of its connection."""
