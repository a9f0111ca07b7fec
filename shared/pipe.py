"""Many commands under way at a time on one connection, which is opened when it is needed and again after a loss."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Any, cast

import hiredis
from holdfast.shared.redis_errors import NoScriptError, PipeFull, WireLost
from holdfast.shared.wire import Argument, Listener, OnReply, Wire, reply_to

PAUSE_S = 0.004
MOST_CALLS = 4096  # under way on one connection
MOST_UNSENT_BYTES = 16 * 1024 * 1024


class PipeWire(Wire):
    """A connection on which what need not go this instant goes in few writes: at once after a pause, else a few
    milliseconds (`pause_s`) after the last of them. A command among many in one write costs a fraction of one that is
    written by itself, here and even more at the server."""

    def __init__(self, listener: Listener | None, deadline_s: float) -> None:
        super().__init__(listener, deadline_s)
        self._gathered: list[tuple[OnReply, bytes]] = []
        self._wrote_at = float("-inf")
        self.pause_s = PAUSE_S

    def call_soon(self, on_reply: OnReply, *command: Argument) -> None:
        """Send a command as `call` does, soon."""
        self._gathered.append((on_reply, hiredis.pack_command(command)))  # type: ignore[arg-type]
        if len(self._gathered) == 1:
            loop = asyncio.get_running_loop()
            loop.call_later(max(self._wrote_at + self.pause_s - loop.time(), 0), self._write_gathered)

    def call_together(self, on_replies: Callable[[list[Any]], None], *commands: Sequence[Argument]) -> None:
        """Send commands one right behind the other, soon. `on_replies` gets all replies."""
        replies: list[Any] = []

        def heard(reply: Any) -> None:
            replies.append(reply)
            if len(replies) == len(commands):
                on_replies(replies)

        for command in commands:
            self.call_soon(heard, *command)

    async def ask_soon(self, *command: Argument) -> Any:
        """Send a command as `ask` does, soon. Raises RedisError."""
        return await reply_to(self.call_soon, command)

    def _write_gathered(self) -> None:
        gathered, self._gathered = self._gathered, []
        loop = asyncio.get_running_loop()
        self._wrote_at = loop.time()
        if self._transport is None or self._transport.is_closing():
            for on_reply, _ in gathered:
                loop.call_soon(on_reply, WireLost("the connection was closed"))
            return
        self._waiting.extend(on_reply for on_reply, _ in gathered)
        self._transport.write(b"".join([packed for _, packed in gathered]))


class Pipe:
    """Nothing is sent twice: a command whose connection is lost fails with WireLost, and its caller knows what to do.

    `deadline_s`: after so much silence of the server the connection is given up. `pause_s`: between two writes of what
    need not go this instant. `calls` are under way, those included that wait for the connection to open."""

    def __init__(self, url: str, *, deadline_s: float, pause_s: float = PAUSE_S) -> None:
        self._url = url
        self._deadline_s = deadline_s
        self._pause_s = pause_s
        self.calls = 0
        self._closed = False
        self._wire: PipeWire | None = None
        self._opening: asyncio.Task[PipeWire] | None = None

    async def wire(self) -> PipeWire:
        """The connection that is open now. Raises WireLost when there is none to be had, RedisError when refused."""
        if self._wire is not None and self._wire.alive:
            return self._wire
        if self._closed:
            raise WireLost("the pipe was closed")
        if self._opening is None:
            # All callers share it: it must not depend on the context, and so on the threads, of the job that needs it.
            self._opening = asyncio.create_task(self._open(), context=Context())
            self._opening.add_done_callback(self._opened)
        opening = self._opening
        await asyncio.wait({opening})
        if opening.cancelled():
            raise WireLost("the pipe was closed")
        return opening.result()

    async def call(self, *command: Argument) -> Any:
        """Send a command. Raises RedisError; PipeFull when too much is under way."""
        self.calls += 1
        try:
            return await (await self._open_wire()).ask(*command)
        finally:
            self.calls -= 1

    async def call_all(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        """Send commands one right behind the other. Answers all replies, each of which may be a RedisError. Raises as
        `call` does when nothing was sent."""
        self.calls += 1
        try:
            return await (await self._open_wire()).ask_all(commands)
        finally:
            self.calls -= 1

    async def aclose(self) -> None:
        """Drop the connection, and open no other: a call that comes late fails with WireLost."""
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
        if self._wire is not None:
            self._wire.abort()

    async def _open_wire(self) -> PipeWire:
        if self.calls > MOST_CALLS:
            raise PipeFull(f"{MOST_CALLS} commands are under way")
        wire = self._wire
        if wire is None or not wire.alive:
            wire = await self.wire()
        if wire.unsent_bytes > MOST_UNSENT_BYTES:
            raise PipeFull(f"{MOST_UNSENT_BYTES} bytes wait to be sent")
        return wire

    async def _open(self) -> PipeWire:
        wire = cast("PipeWire", await PipeWire.open(self._url, self._deadline_s))
        wire.pause_s = self._pause_s
        return wire

    def _opened(self, opening: asyncio.Task[PipeWire]) -> None:
        self._opening = None
        if not opening.cancelled() and opening.exception() is None:
            self._wire = opening.result()
            if self._closed:  # it was open before it could be cancelled
                self._wire.abort()


class PipeScript:
    """A script that is sent by its digest, and as text only where the server does not know it."""

    def __init__(self, pipe: Pipe, text: str) -> None:
        self._pipe = pipe
        self._text = text
        self._digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, keys: Sequence[Argument], arguments: Sequence[Argument]) -> Any:
        """Run it. Raises RedisError."""
        return await self.on(await self._pipe.wire(), keys, arguments)

    async def on(self, wire: PipeWire, keys: Sequence[Argument], arguments: Sequence[Argument]) -> Any:
        """Run it on this connection. Raises RedisError."""
        try:
            return await wire.ask_soon("EVALSHA", self._digest, len(keys), *keys, *arguments)
        except NoScriptError:
            return await wire.ask_soon("EVAL", self._text, len(keys), *keys, *arguments)
