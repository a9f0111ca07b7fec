"""One TCP connection: its options, and the asyncio protocol that forwards to exchangeable handlers."""

from __future__ import annotations

import asyncio
import socket
from typing import Protocol

from holdfast.gateway.transports.deadline import Deadline

UNANSWERED_MS = 30_000
UNSENT_BYTES = 16 * 1024


class Handler(Protocol):
    """The current role of a connection: HTTP, or a stream that has taken it over."""

    def data_received(self, data: bytes) -> None: ...

    def connection_lost(self, exc: Exception | None) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...

    def shutdown(self) -> None:
        """Called when the server stops."""


class Timed(Protocol):
    """What a deadline ends."""

    def time_out(self) -> None:
        """Called when the deadline has passed."""


def time_out(item: Timed) -> None:
    item.time_out()


class Server(Protocol):
    """What a connection needs of the server that accepted it."""

    stopping: bool
    lingering: Deadline[Connection]
    message_deadline: Deadline[Timed]  # of a WebSocket whose message is incomplete
    tasks: set[asyncio.Task[None]]  # which the server awaits when it stops

    def opened(self, connection: Connection) -> None:
        """Register the connection and set its first handler."""

    def closed(self, connection: Connection) -> None:
        """Unregister the connection."""

    def serve_http(self, connection: Connection) -> None:
        """Set a new HTTP handler."""


class Connection(asyncio.Protocol):
    """Forwards the callbacks of the asyncio transport to the current handler.

    Assigning `handler` replaces it, which frees the HTTP parser while a stream runs. The transport's own `set_protocol`
    would also do, but under uvloop it stops and restarts reading, which costs two system calls."""

    __slots__ = ("handler", "server", "transport")

    handler: Handler
    transport: asyncio.Transport

    def __init__(self, server: Server) -> None:
        self.server = server

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        self.server.opened(self)

    def data_received(self, data: bytes) -> None:
        self.handler.data_received(data)

    def pause_writing(self) -> None:
        self.handler.pause_writing()

    def resume_writing(self) -> None:
        self.handler.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.lingering.stop(self)
        self.server.closed(self)
        self.handler.connection_lost(exc)
        del self.handler  # which refers to this connection

    def shutdown(self) -> None:
        """Finish the running response, then close. Called by uvicorn when the server stops."""
        self.server.stopping = True
        self.handler.shutdown()

    def linger(self) -> None:
        """Send nothing more, and discard input until the client closes or a deadline passes.

        Closing at once while the client is sending would reset the connection, and the client might not receive the
        last response (RFC 9112, section 9.6)."""
        self.transport.write_eof()
        self.handler = _DISCARD
        self.server.lingering.start(self)

    def release(self, *, keep_alive: bool) -> None:
        """Wait for the next request after a stream has ended, or close."""
        if keep_alive and not self.server.stopping and not self.transport.is_closing():
            self.server.serve_http(self)
        else:
            self.transport.close()


class _Discard(asyncio.Protocol):
    """The handler of a connection that is about to be closed."""

    def shutdown(self) -> None: ...


_DISCARD = _Discard()


def set_socket_options(listener: socket.socket) -> None:
    """Set TCP options of a listening socket, which its accepted connections inherit.

    TCP_USER_TIMEOUT drops a connection whose peer acknowledges nothing (a pulled cable sends no FIN).
    TCP_NOTSENT_LOWAT keeps the unsent data in the kernel small; by default it buffers megabytes and reports the socket
    writable only when a third has been sent."""
    if listener.family == socket.AF_UNIX:
        return
    for name, value in (("TCP_USER_TIMEOUT", UNANSWERED_MS), ("TCP_NOTSENT_LOWAT", UNSENT_BYTES)):
        option = getattr(socket, name, None)  # neither exists on every system
        if option is not None:
            listener.setsockopt(socket.IPPROTO_TCP, option, value)
