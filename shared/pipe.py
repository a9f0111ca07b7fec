"""Many commands under way at a time on one connection, which is opened when it is needed and again after a loss."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any

from shared.redis import NoScriptError
from shared.wire import Argument, OnReply, Wire, WireLost

PAUSE_S = 0.004


class Pipe:
    """Nothing is sent twice: a command whose connection is lost fails with WireLost, and its caller knows what to do.

    `deadline_s`: after so much silence of the server the connection is given up."""

    def __init__(self, url: str, *, deadline_s: float) -> None:
        self._url = url
        self._deadline_s = deadline_s
        self._wire: Wire | None = None
        self._opening: asyncio.Task[Wire] | None = None

    async def wire(self) -> Wire:
        """The connection that is open now. Raises WireLost when there is none to be had, RedisError when refused."""
        if self._wire is not None and self._wire.alive:
            return self._wire
        if self._opening is None:
            self._opening = asyncio.create_task(self._open())
            self._opening.add_done_callback(self._opened)
        return await asyncio.shield(self._opening)

    async def call(self, *command: Argument) -> Any:
        """Send a command. Raises RedisError."""
        wire = self._wire
        if wire is None or not wire.alive:
            wire = await self.wire()
        return await wire.ask(*command)

    async def aclose(self) -> None:
        """Drop the connection."""
        if self._opening is not None:
            self._opening.cancel()
        if self._wire is not None:
            self._wire.abort()

    async def _open(self) -> Wire:
        try:
            return await Wire.open(self._url, self._deadline_s)
        except OSError as error:
            raise WireLost(str(error)) from None

    def _opened(self, opening: asyncio.Task[Wire]) -> None:
        self._opening = None
        if not opening.cancelled() and opening.exception() is None:
            self._wire = opening.result()


class Gather:
    """Sends what many callers have to say in few writes: at once after a pause, else a few milliseconds after the last
    write. A server that reads a hundred commands at a time spends a fraction of what single ones cost it."""

    def __init__(self, pause_s: float = PAUSE_S) -> None:
        self._pause_s = pause_s
        self._commands: list[tuple[Wire, OnReply, tuple[Argument, ...]]] = []
        self._sent_at = float("-inf")

    def call(self, wire: Wire, on_reply: OnReply, *command: Argument) -> None:
        """Send a command on this connection soon, as Wire.call does."""
        self._commands.append((wire, on_reply, command))
        if len(self._commands) == 1:
            loop = asyncio.get_running_loop()
            loop.call_later(max(self._sent_at + self._pause_s - loop.time(), 0), self._send)

    def _send(self) -> None:
        commands, self._commands = self._commands, []
        self._sent_at = asyncio.get_running_loop().time()
        for wire, on_reply, command in commands:
            wire.call(on_reply, *command)


class PipeScript:
    """A script that is sent by its digest, and as text only where the server does not know it."""

    def __init__(self, pipe: Pipe, text: str) -> None:
        self._pipe = pipe
        self._text = text
        self._digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, keys: Sequence[Argument], arguments: Sequence[Argument]) -> Any:
        """Run it. Raises RedisError."""
        return await self.on(await self._pipe.wire(), keys, arguments)

    async def on(self, wire: Wire, keys: Sequence[Argument], arguments: Sequence[Argument]) -> Any:
        """Run it on this connection. Raises RedisError."""
        try:
            return await wire.ask("EVALSHA", self._digest, len(keys), *keys, *arguments)
        except NoScriptError:
            return await wire.ask("EVAL", self._text, len(keys), *keys, *arguments)
