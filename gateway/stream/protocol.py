"""uvicorn's HTTP protocol, from which a response that has begun can take the connection over.

A stream that stays inside ASGI costs a task, its frames and its request for as long as it lives, and a coroutine for
each write. So the route only begins the response; then its request is over for uvicorn, and an outlet writes.
"""

from __future__ import annotations

import asyncio
import socket

from starlette.types import Send
from uvicorn._types import ASGI3Application as ASGIApplication
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway.stream.outlet import Outlet

EXTENSION = "holdfast.connection"
UNANSWERED_MS = 30_000
UNSENT_BYTES = 16 * 1024
_NEW_LINE = b"\r\n"


class StreamProtocol(HttpToolsProtocol):
    """Puts itself into the scope's extensions, and hands the connection over. `stopping`: so is the server."""

    outlet: Outlet | None = None
    stopping = False
    _running: RequestResponseCycle  # the request at work; `cycle` is the newest that has come

    async def hand_over(self, send: Send, fields: bytes) -> Outlet | None:
        """Begin the response at work, with header fields as they stand on the wire, and take the connection over; None
        when the client has left. The request may then return, its response not complete; those behind it wait until it
        is."""
        cycle = self._running
        cycle.transport = kept = _Head()  # type: ignore[assignment]
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        finally:
            cycle.transport = self.transport
        if cycle.disconnected or self.transport.is_closing():  # uvicorn tells only the newest request that it was lost
            cycle.disconnected = True
            return None
        self.outlet = outlet = Outlet(self, kept.data.removesuffix(_NEW_LINE) + fields + _NEW_LINE)
        if self.flow.write_paused:
            outlet.pause()
        cycle.disconnected = True  # so that nothing is missed when the request's task ends
        cycle.message_event = _SILENT
        cycle.body = bytearray()
        if not self.pipeline:
            self.flow.resume_reading()
        if self.scope is cycle.scope:
            self.scope = self.headers = None  # type: ignore[assignment]  # kept for nothing while it streams
        cycle.scope = None  # type: ignore[assignment]
        return outlet

    def complete(self) -> None:
        self.outlet = None
        self._running.response_complete = True
        if not self._running.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        outlet, self.outlet = self.outlet, None
        if outlet is not None:
            outlet.gone()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()  # which uvicorn forgets when the connection is reset

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {EXTENSION: {"connection": self}}

    def on_body(self, body: bytes) -> None:
        if not self._streams():
            super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._streams():
            super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.outlet is not None:
            self.outlet.pause()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.outlet is not None:
            self.outlet.resume()

    def shutdown(self) -> None:
        self.stopping = True
        if self.outlet is not None and self.outlet.on_shutdown is not None:
            self.outlet.on_shutdown()
        super().shutdown()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGIApplication) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _streams(self) -> bool:
        """Whether what comes belongs to the request whose response is a stream by now."""
        return self.outlet is not None and self.cycle is self._running


class _Head:
    """Takes a response's head in place of the transport, for one write with what follows it."""

    data = b""

    def write(self, data: bytes) -> None:
        self.data = data


class _Silent(asyncio.Event):
    """Nobody waits for it."""

    def set(self) -> None:
        pass


_SILENT = _Silent()


def limit(listener: socket.socket) -> None:
    """Let the kernel drop a connection whose other end acknowledges nothing (a pulled cable sends no FIN), and keep
    little that is not on its way: otherwise megabytes, of which it says that they move only once a third is gone. What
    a listening socket is told holds for each connection that it accepts."""
    if listener.family == socket.AF_UNIX:
        return
    for name, value in (("TCP_USER_TIMEOUT", UNANSWERED_MS), ("TCP_NOTSENT_LOWAT", UNSENT_BYTES)):
        option = getattr(socket, name, None)  # not every system has both
        if option is not None:
            listener.setsockopt(socket.IPPROTO_TCP, option, value)
