"""Pipelining of the commands of many callers over one connection, which is opened on demand and again after a loss."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Any

import hiredis
from holdfast.shared.redis.connection import Argument, Listener, OnReply, RedisConnection, reply_to, send_all
from holdfast.shared.redis.errors import ConnectionLost, PipelineFull
from holdfast.shared.redis.sentinel import open_connection

FLUSH_INTERVAL_S = 0.004
MAX_CALLS = 4096  # pending on one connection
MAX_UNSENT_BYTES = 16 * 1024 * 1024


class PipelinedConnection(RedisConnection):
    """A connection that can gather commands and send them in one write.

    The first command after an idle `flush_interval_s` is sent in the next iteration of the event loop, later ones at
    the end of that interval. A command among many in one write costs a fraction of a separate write, for this process
    and even more for the server."""

    def __init__(self, listener: Listener | None, deadline_s: float) -> None:
        super().__init__(listener, deadline_s)
        self._gathered: list[tuple[OnReply, bytes]] = []
        self._wrote_at = float("-inf")
        self.flush_interval_s = FLUSH_INTERVAL_S

    def call_soon(self, on_reply: OnReply, *command: Argument) -> None:
        """Send a command with the next write; otherwise as `call`."""
        self._gathered.append((on_reply, hiredis.pack_command(command)))  # type: ignore[arg-type]
        if len(self._gathered) == 1:
            loop = asyncio.get_running_loop()
            loop.call_later(max(self._wrote_at + self.flush_interval_s - loop.time(), 0), self._write_gathered)

    def call_together(self, on_replies: Callable[[list[Any]], None], *commands: Sequence[Argument]) -> None:
        """Send commands back to back with the next write. `on_replies` gets all replies."""
        send_all(self.call_soon, commands, on_replies)

    async def execute_soon(self, *command: Argument) -> Any:
        """Send a command with the next write and wait for its reply. Raises RedisError."""
        return await reply_to(self.call_soon, command)

    def _write_gathered(self) -> None:
        gathered, self._gathered = self._gathered, []
        loop = asyncio.get_running_loop()
        self._wrote_at = loop.time()
        if self._transport is None or self._transport.is_closing():
            for on_reply, _ in gathered:
                loop.call_soon(on_reply, ConnectionLost("the connection was closed"))
            return
        self._waiting.extend(on_reply for on_reply, _ in gathered)
        self._transport.write(b"".join([packed for _, packed in gathered]))


class AutoPipeline:
    """Sends commands over one shared connection. A command is never sent twice: when the connection is lost, pending
    commands fail with ConnectionLost, and the caller decides whether a retry is safe.

    `calls` is the number of pending commands, including those that wait for the connection to open.

    Args:
        deadline_s: seconds without a byte from the server, while commands are pending, until the connection is dropped.
        flush_interval_s: seconds between two writes of gathered commands.
    """

    def __init__(self, url: str, *, deadline_s: float, flush_interval_s: float = FLUSH_INTERVAL_S) -> None:
        self._url = url
        self._deadline_s = deadline_s
        self._flush_interval_s = flush_interval_s
        self.calls = 0
        self._closed = False
        self._connection: PipelinedConnection | None = None
        self._opening: asyncio.Task[PipelinedConnection] | None = None

    async def connection(self) -> PipelinedConnection:
        """Return the open connection, opening one if needed. Raises ConnectionLost, or RedisError when refused."""
        if self._connection is not None and self._connection.alive:
            return self._connection
        if self._closed:
            raise ConnectionLost("the pipeline was closed")
        if self._opening is None:
            # All callers share the task: it must not inherit the context, and with it the thread pool, of one job.
            self._opening = asyncio.create_task(self._open(), context=Context())
            self._opening.add_done_callback(self._opened)
        opening = self._opening
        await asyncio.wait({opening})
        if opening.cancelled():
            raise ConnectionLost("the pipeline was closed")
        return opening.result()

    def connection_for(self, key: str) -> Awaitable[PipelinedConnection]:
        """Return the open connection to the server of a key, as `connection` does: one server has all keys."""
        return self.connection()

    async def call(self, *command: Argument) -> Any:
        """Send a command and wait for its reply. Raises RedisError; PipelineFull when too many commands are pending."""
        self.calls += 1
        try:
            return await (await self._open_connection()).execute(*command)
        finally:
            self.calls -= 1

    async def call_all(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        """Send commands back to back and wait for all replies, each of which may be a RedisError. Raises as `call` does
        when nothing was sent."""
        self.calls += 1
        try:
            return await (await self._open_connection()).execute_all(commands)
        finally:
            self.calls -= 1

    async def aclose(self) -> None:
        """Drop the connection and open no other: later calls fail with ConnectionLost."""
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
        if self._connection is not None:
            self._connection.abort()

    async def _open_connection(self) -> PipelinedConnection:
        if self.calls > MAX_CALLS:
            raise PipelineFull(f"{MAX_CALLS} commands are under way")
        connection = self._connection
        if connection is None or not connection.alive:
            connection = await self.connection()
        if connection.unsent_bytes > MAX_UNSENT_BYTES:
            raise PipelineFull(f"{MAX_UNSENT_BYTES} bytes wait to be sent")
        return connection

    async def _open(self) -> PipelinedConnection:
        connection = await open_connection(PipelinedConnection, self._url, self._deadline_s)
        connection.flush_interval_s = self._flush_interval_s
        return connection

    def _opened(self, opening: asyncio.Task[PipelinedConnection]) -> None:
        self._opening = None
        if not opening.cancelled() and opening.exception() is None:
            self._connection = opening.result()
            if self._closed:  # it opened before `aclose` could cancel it
                self._connection.abort()
