"""A connection to Redis with many commands under way at a time and replies in order, parsed by hiredis.

redis-py takes a connection from its pool for each command, at about 100 µs of CPU per command; here a command costs a
tenth of that. With a `listener` the connection also receives invalidation messages (RESP3 with CLIENT TRACKING).
redis-py 5.3 would take such a message for the reply to the next command and shift all later replies.

See https://redis.io/docs/latest/develop/reference/client-side-caching/.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Protocol, Self, cast

import hiredis
from holdfast.shared.redis.errors import (
    CertificateRefused,
    ConnectionLost,
    NotEnoughReplicas,
    ReadOnlyError,
    RedisError,
)
from redis.asyncio.connection import (
    Connection,
    DefaultParser,
    SSLConnection,
    UnixDomainSocketConnection,
    parse_url,
)

Argument = str | bytes | int
OnReply = Callable[[Any], None]

SILENCE_CHECKS = 4  # per deadline
TLS_CONTEXT_SECONDS = 60

_INCOMPLETE = object()
_parse_known_error: Callable[[str], RedisError] = DefaultParser.parse_error


class Listener(Protocol):
    """Callbacks of the owner of a connection. They run in the event loop, between two reads of the socket."""

    def invalidated(self, keys: list[bytes] | None) -> None:
        """These keys changed and are no longer tracked; None: all of them."""

    def drained(self) -> None:
        """Everything from the last read of the socket has been passed on."""

    def lost(self) -> None:
        """The connection is closed. Called once, after all pending commands got ConnectionLost."""


class RedisConnection(asyncio.Protocol):
    """One connection: commands are sent in order, replies arrive in order.

    With a listener and `tracking`, each command that reads a key also tracks it until its next change. Every failure of
    the connection is a ConnectionLost."""

    def __init__(self, listener: Listener | None, deadline_s: float) -> None:
        self._listener = listener
        self._check_s = deadline_s / SILENCE_CHECKS
        self._reader = hiredis.Reader(notEnoughData=_INCOMPLETE, replyError=_parse_error)
        self._waiting: deque[OnReply] = deque()
        self._received = True
        self._silent_checks = 0
        self._aborting: frozenset[type] = frozenset({ReadOnlyError})  # no longer the primary: reconnect to find it
        self.role = ""
        self.tracking = listener is not None
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    async def open(
        cls, url: str, deadline_s: float, *, listener: Listener | None = None, tracking: bool = True
    ) -> Self:
        """Connect and authenticate; with a `listener`, switch tracking on unless told otherwise.

        Args:
            deadline_s: seconds without a byte from the server, while commands are pending, until the connection is
                dropped.

        Raises:
            ConnectionLost: no connection could be established in `deadline_s`.
            CertificateRefused: the server cannot prove that it is the one in the URL.
            RedisError: the server refuses: wrong password, missing permission, still loading.
        """
        connection = cls(listener, deadline_s)
        connection.tracking = connection.tracking and tracking
        try:
            async with asyncio.timeout(deadline_s):
                address = await _connect(url, connection)
                await connection._handshake(address)
            if not connection.alive:  # closed by the server right after the handshake
                raise ConnectionLost("the connection was closed")
        except RedisError:
            connection.abort()
            raise
        except ssl.SSLError as error:
            connection.abort()
            raise CertificateRefused(_tls_failure(error)) from error
        except Exception as error:  # OSError, TimeoutError, uvloop's RuntimeError for a closed transport
            connection.abort()
            raise ConnectionLost(f"{type(error).__name__}: {error}") from error
        except BaseException:
            connection.abort()
            raise
        connection._check()
        return connection

    @property
    def alive(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def unsent_bytes(self) -> int:
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def call(self, on_reply: OnReply, *command: Argument) -> None:
        """Send a command. `on_reply` gets the reply, or an error as a value: RedisError, including ConnectionLost."""
        if self._transport is None or self._transport.is_closing():
            asyncio.get_running_loop().call_soon(on_reply, ConnectionLost("the connection was closed"))
            return
        self._waiting.append(on_reply)
        self._transport.write(hiredis.pack_command(command))  # type: ignore[arg-type]

    def call_each(self, on_replies: Sequence[OnReply], commands: Sequence[bytes]) -> None:
        """Send packed commands in one write. Each callback gets its reply as with `call`."""
        if self._transport is None or self._transport.is_closing():
            for on_reply in on_replies:
                asyncio.get_running_loop().call_soon(on_reply, ConnectionLost("the connection was closed"))
            return
        self._waiting.extend(on_replies)
        self._transport.write(b"".join(commands))

    async def execute(self, *command: Argument) -> Any:
        """Send a command and wait for its reply. Raises RedisError."""
        return await reply_to(self.call, command)

    async def execute_all(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        """Send commands back to back and wait for all replies, each of which may be a RedisError."""
        if not commands:
            return []
        done: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        send_all(self.call, commands, lambda replies: None if done.done() else done.set_result(replies))
        return await done

    def abort_on(self, error: type[RedisError]) -> None:
        """Drop the connection after a reply of this type too."""
        self._aborting |= {error}

    def abort(self) -> None:
        """Drop the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received = True
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not _INCOMPLETE:
                if type(reply) is hiredis.PushNotification:
                    self._take_push(reply)
                    continue
                if not self._waiting:
                    raise hiredis.ProtocolError("a reply without a command")
                self._waiting.popleft()(reply)
                if type(reply) in self._aborting:
                    self.abort()
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
        while self._waiting:  # one call_soon each: an exception in one callback must not keep the others from running
            loop.call_soon(self._waiting.popleft(), ConnectionLost(lost))
        if self._listener is not None:
            loop.call_soon(self._listener.lost)

    def _take_push(self, push: Any) -> None:
        if push[0] == b"invalidate" and self._listener is not None:
            self._listener.invalidated(push[1])

    def _check(self) -> None:
        """Drop a connection that was silent for the deadline while a command was pending, as a half-open one is."""
        self._silent_checks = self._silent_checks + 1 if self._waiting and not self._received else 0
        if self._silent_checks == SILENCE_CHECKS:
            self.abort()
            return
        self._received = False
        if not self._waiting:
            self.call(lambda _: None, "PING")
        self._timer = asyncio.get_running_loop().call_later(self._check_s, self._check)

    async def _handshake(self, address: dict[str, Any]) -> None:
        hello: list[Argument] = ["HELLO", "3" if self.tracking else "2"]  # invalidation needs RESP3
        if address.get("password") is not None:
            hello += ["AUTH", address.get("username") or "default", address["password"]]
        commands: list[tuple[Argument, ...]] = [tuple(hello)]
        if address.get("db"):
            commands.append(("SELECT", address["db"]))
        if self.tracking:
            commands.append(("CLIENT", "TRACKING", "ON"))
        replies = await asyncio.gather(*(self.execute(*command) for command in commands))
        self.role = _role_in(replies[0])


async def _connect(url: str, protocol: RedisConnection) -> dict[str, Any]:
    """Open the socket that the URL names, as redis-py does, and return the parts of the URL."""
    loop = asyncio.get_running_loop()
    address: dict[str, Any] = dict(parse_url(url))
    kind = address.pop("connection_class", Connection)
    if issubclass(kind, UnixDomainSocketConnection):
        await loop.create_unix_connection(lambda: protocol, address["path"])
        return address
    tls = issubclass(kind, SSLConnection)
    context = _tls_context(url, int(time.monotonic() // TLS_CONTEXT_SECONDS)) if tls else None
    host, port = address.get("host", "localhost"), address.get("port", 6379)
    await loop.create_connection(lambda: protocol, host, port, ssl=context)
    return address


@lru_cache(maxsize=8)
def _tls_context(url: str, period: int) -> ssl.SSLContext:
    """Load the authorities that the URL names. That takes 25 ms of the event loop, which connections that open at the
    same time share; replaced files are read in the next period."""
    address: dict[str, Any] = dict(parse_url(url))
    kind: type[SSLConnection] = address.pop("connection_class")
    return kind(**address).ssl_context.get()


def _role_in(hello: Any) -> str:
    """Return the role in a reply to HELLO: `master` or `replica`, or an empty text if there is none."""
    if isinstance(hello, list):  # RESP2
        hello = dict(zip(hello[::2], hello[1::2], strict=True))
    return str(hello.get(b"role", b""), "ascii") if isinstance(hello, dict) else ""


def _parse_error(text: str) -> RedisError:
    if text.startswith("NOREPLICAS"):
        return NotEnoughReplicas(text)
    return _parse_known_error(text)


def _tls_failure(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the certificate of the server is refused: {error.verify_message}; HOLDFAST_REDIS_CA names its authority"
        )
    return f"no TLS with this server: {error.reason or error}; rediss:// needs the TLS port"


async def reply_to(send: Callable[..., None], command: Sequence[Argument]) -> Any:
    """Send a command with `call` or `call_soon`, and wait for its reply. Raises RedisError."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    send(lambda value: None if future.done() else future.set_result(value), *command)
    reply = await future
    if isinstance(reply, RedisError):
        raise reply
    return reply


def send_all(
    send: Callable[..., None], commands: Sequence[Sequence[Argument]], on_replies: Callable[[list[Any]], None]
) -> None:
    """Send commands back to back with `call` or `call_soon`. `on_replies` gets all replies."""
    replies: list[Any] = []

    def on_reply(reply: Any) -> None:
        replies.append(reply)
        if len(replies) == len(commands):
            on_replies(replies)

    for command in commands:
        send(on_reply, *command)
