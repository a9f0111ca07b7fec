"""One TCP connection: the object that the transport calls for as long as the connection lives."""

from __future__ import annotations

import asyncio
from typing import Protocol

from holdfast.gateway.stream.deadline import Deadline


class Handler(Protocol):
    """Does the work of a connection: HTTP, or a stream that has taken the connection over."""

    def data_received(self, data: bytes) -> None: ...

    def connection_lost(self, exc: Exception | None) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...

    def shutdown(self) -> None:
        """The server stops."""


class Server(Protocol):
    """What a connection needs of the server that accepted it."""

    stopping: bool
    lingering: Deadline[Connection]

    def opened(self, connection: Connection) -> None:
        """Count the connection, and give it its first handler."""

    def closed(self, connection: Connection) -> None:
        """Forget the connection."""

    def serve_http(self, connection: Connection) -> None:
        """Give the connection a new HTTP handler."""


class Connection(asyncio.Protocol):
    """Forwards what the transport reports to its current handler.

    A handler is exchanged by assignment: while a stream runs, the HTTP parser and its state are freed. The transport's
    own `set_protocol` would do as well, but under uvloop it stops and starts reading, which costs two system calls."""

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
        """Finish what is at work, then close. Called by uvicorn when the server stops."""
        self.server.stopping = True
        self.handler.shutdown()

    def linger(self) -> None:
        """Send no more, and throw away what still comes, until the client closes or some time is over.

        To close at once while the client is sending would reset the connection, and the client might never see what it
        was sent last."""
        self.transport.write_eof()
        self.handler = _DISCARD
        self.server.lingering.start(self)

    def release(self, *, keep_alive: bool) -> None:
        """A stream has ended: wait for the next request, or close."""
        if keep_alive and not self.server.stopping and not self.transport.is_closing():
            self.server.serve_http(self)
        else:
            self.transport.close()


class _Discard:
    """The handler of a connection that is about to be closed."""

    def data_received(self, data: bytes) -> None: ...

    def connection_lost(self, exc: Exception | None) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...

    def shutdown(self) -> None: ...


_DISCARD = _Discard()
