"""uvicorn's HTTP protocol, with the two things that an endless response needs of its connection."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

EXTENSION = "holdfast.connection"
UNANSWERED_MS = 30_000
UNSENT_BYTES = 16 * 1024


class Connection:
    """What a response may do with its connection: `abort` it, and hear by `on_shutdown` that the server stops."""

    __slots__ = ("abort", "on_shutdown")

    def __init__(self, abort: Callable[[], None]) -> None:
        self.abort = abort
        self.on_shutdown: Callable[[], None] | None = None


class StreamProtocol(HttpToolsProtocol):
    """Puts a Connection into the scope's extensions."""

    connection: Connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.connection = Connection(transport.abort)
        _limit(transport.get_extra_info("socket"))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {EXTENSION: {"connection": self.connection}}

    def shutdown(self) -> None:
        if self.connection.on_shutdown is not None:
            self.connection.on_shutdown()
        super().shutdown()


def _limit(connection: Any) -> None:
    """Let the kernel drop a connection whose other end acknowledges nothing (a pulled cable sends no FIN), and keep
    little that is not on its way: otherwise megabytes, of which it says that they move only once a third is gone."""
    if connection is None or connection.family == socket.AF_UNIX:
        return
    for name, value in (("TCP_USER_TIMEOUT", UNANSWERED_MS), ("TCP_NOTSENT_LOWAT", UNSENT_BYTES)):
        option = getattr(socket, name, None)  # not every system has both
        if option is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
