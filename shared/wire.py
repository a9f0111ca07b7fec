"""A connection of our own to Redis: many commands under way at a time, replies in order, on hiredis' parser.

redis-py gives each command a connection of the pool for as long as it takes, at some 100 µs of CPU a command; here a
command costs a tenth of that. With a `listener` the connection also hears which keys changed (RESP3 with CLIENT
TRACKING), which redis-py 5.3 would take for the next command's reply, and so shift every later one. Whatever goes wrong
with a connection is a WireLost here, and nothing else.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import hiredis
from holdfast.shared.redis_errors import ReadOnlyError, RedisError, WireLost
from redis._parsers import BaseParser  # the only place where it tells errors apart
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection, parse_url

Argument = str | bytes | int
OnReply = Callable[[Any], None]

CHECKS = 4  # for silence, within a deadline

_INCOMPLETE = object()


class Listener(Protocol):
    """Who owns a connection. All calls come from the event loop, between two reads of the socket."""

    def invalidated(self, keys: list[bytes] | None) -> None:
        """These keys changed and are no longer watched; None: all of them."""

    def drained(self) -> None:
        """Everything that the last read of the socket brought has been handed out."""

    def lost(self) -> None:
        """The connection is gone. Comes once, after the pending commands got WireLost."""


class Wire(asyncio.Protocol):
    """Commands go out in order, replies come in order. With tracking, a reading command watches its keys until their
    next change."""

    def __init__(self, listener: Listener | None, deadline_s: float) -> None:
        self._listener = listener
        self._check_s = deadline_s / CHECKS
        self._reader = hiredis.Reader(notEnoughData=_INCOMPLETE, replyError=BaseParser.parse_error)
        self._waiting: deque[OnReply] = deque()
        self._heard = True
        self._silent_checks = 0
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    async def open(cls, url: str, deadline_s: float, *, listener: Listener | None = None) -> Wire:
        """Connect and authenticate; with a `listener`, switch tracking on. `deadline_s`: silence after which the
        connection is given up.

        Raises WireLost, and another RedisError where the server answers and refuses: wrong password, no permission,
        still loading."""
        wire = cls(listener, deadline_s)
        try:
            async with asyncio.timeout(deadline_s):
                address = await _connect(url, wire)
                await wire._greet(address)
            if not wire.alive:  # the server greeted and closed
                raise WireLost("the connection was closed")
        except RedisError:
            wire.abort()
            raise
        except Exception as error:  # OSError, TimeoutError, uvloop's RuntimeError for a closed transport
            wire.abort()
            raise WireLost(f"{type(error).__name__}: {error}") from error
        except BaseException:
            wire.abort()
            raise
        wire._check()
        return wire

    @property
    def alive(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def unsent_bytes(self) -> int:
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def call(self, on_reply: OnReply, *command: Argument) -> None:
        """Send a command. `on_reply` gets the reply, which may be a RedisError as a value, WireLost among them."""
        if self._transport is None or self._transport.is_closing():
            asyncio.get_running_loop().call_soon(on_reply, WireLost("the connection was closed"))
            return
        self._waiting.append(on_reply)
        self._transport.write(hiredis.pack_command(command))  # type: ignore[arg-type]

    async def ask(self, *command: Argument) -> Any:
        """Send a command and wait for its reply. Raises RedisError."""
        return await reply_to(self.call, command)

    async def ask_all(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        """Send commands one right behind the other and wait for all replies, each of which may be a RedisError."""
        if not commands:
            return []
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        replies: list[Any] = []

        def heard(reply: Any) -> None:
            replies.append(reply)
            if len(replies) == len(commands) and not done.done():
                done.set_result(None)

        for command in commands:
            self.call(heard, *command)
        await done
        return replies

    def abort(self) -> None:
        """Drop the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._heard = True
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not _INCOMPLETE:
                self._take(reply)
        except hiredis.ProtocolError:
            self.abort()
            return
        if self._listener is not None:
            self._listener.drained()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        lost = "the connection was closed" if exc is None else f"{type(exc).__name__}: {exc}"
        while self._waiting:  # each by itself, so that none that fails keeps it from the others
            loop.call_soon(self._waiting.popleft(), WireLost(lost))
        if self._listener is not None:
            loop.call_soon(self._listener.lost)

    def _take(self, reply: Any) -> None:
        if type(reply) is not hiredis.PushNotification:
            if not self._waiting:
                raise hiredis.ProtocolError("a reply without a command")
            self._waiting.popleft()(reply)
            if type(reply) is ReadOnlyError:  # it is no primary any more: a new connection finds the one that is
                self.abort()
        elif reply[0] == b"invalidate" and self._listener is not None:
            self._listener.invalidated(reply[1])

    def _check(self) -> None:
        """Drop a connection that was silent for the deadline while a command was under way, as a half-open one is."""
        self._silent_checks = self._silent_checks + 1 if self._waiting and not self._heard else 0
        if self._silent_checks == CHECKS:
            self.abort()
            return
        self._heard = False
        if not self._waiting:
            self.call(_ignore, "PING")
        self._timer = asyncio.get_running_loop().call_later(self._check_s, self._check)

    async def _greet(self, address: dict[str, Any]) -> None:
        hello: list[Argument] = ["HELLO", "2" if self._listener is None else "3"]  # only RESP3 has notices
        if address.get("password") is not None:
            hello += ["AUTH", address.get("username") or "default", address["password"]]
        commands: list[tuple[Argument, ...]] = [tuple(hello)]
        if address.get("db"):
            commands.append(("SELECT", address["db"]))
        if self._listener is not None:
            commands.append(("CLIENT", "TRACKING", "ON"))
        await asyncio.gather(*(self.ask(*command) for command in commands))


async def _connect(url: str, protocol: Wire) -> dict[str, Any]:
    """Open the socket that the URL names, as redis-py would. Returns the URL's parts."""
    loop = asyncio.get_running_loop()
    address: dict[str, Any] = dict(parse_url(url))
    kind = address.pop("connection_class", Connection)
    if issubclass(kind, UnixDomainSocketConnection):
        await loop.create_unix_connection(lambda: protocol, address["path"])
        return address
    context = kind(**address).ssl_context.get() if issubclass(kind, SSLConnection) else None
    host, port = address.get("host", "localhost"), address.get("port", 6379)
    await loop.create_connection(lambda: protocol, host, port, ssl=context)
    return address


async def reply_to(send: Callable[..., None], command: Sequence[Argument]) -> Any:
    """Send a command by `call` or its like, and wait for its reply. Raises RedisError."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    send(lambda value: None if future.done() else future.set_result(value), *command)
    reply = await future
    if isinstance(reply, RedisError):
        raise reply
    return reply


def _ignore(_reply: Any) -> None:
    pass
