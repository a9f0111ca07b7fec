"""A client for Redis or Valkey. It never retries: only the caller knows whether a command may be repeated."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any
from urllib.parse import urlsplit

from holdfast.shared.redis.address import cluster_address, sentinel_address, server_url
from holdfast.shared.redis.auto_pipeline import AutoPipeline
from holdfast.shared.redis.connection import Argument
from holdfast.shared.redis.errors import RedisError
from redis.asyncio import Redis as StockRedis
from redis.asyncio.connection import parse_url
from redis.commands.core import AsyncCoreCommands

# redis-py 5 types every reply as `Awaitable[X] | X`, for both of its clients at once, which type checkers reject in
# `await`.
Redis = Any

BLOCKING = frozenset({"BLPOP"})  # the server runs nothing else on the connection until it replies
_CALLBACKS: Mapping[Any, Callable[..., Any]] = dict(StockRedis().response_callbacks)  # never connects


class Client(AsyncCoreCommands):
    """Sends commands over a few pipelined connections. Has redis-py's command methods, and its types of replies.

    Raises:
        ConnectionLost: by every call; whether the command was executed is unknown.
        PipelineFull: by every call; nothing was sent.
        RedisError: by every call; the server refused the command.
    """

    connection_pool: Any = None  # required by redis-py's protocol; unused here

    def __init__(self, url: str, max_connections: int, deadline_s: float) -> None:
        parse_url(server_url(url))  # raises ValueError for an invalid address
        self._pipelines = [AutoPipeline(url, deadline_s=deadline_s) for _ in range(max_connections)]

    async def call(self, *command: Argument) -> Any:
        """Send a command. Returns the raw reply."""
        return await self._least_busy().call(*command)

    async def call_all(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        """Send commands back to back. Returns their replies, each of which may be a RedisError."""
        return await self._least_busy().call_all(commands)

    async def execute_command(self, *command: Any, **options: Any) -> Any:
        """Send a command, whose name may consist of several words."""
        name, *arguments = command
        call = self._block if name in BLOCKING else self.call
        reply = await call(*name.split(), *arguments)
        options.pop("keys", None)  # used by the cache of redis-py only
        callback = _CALLBACKS.get(name)
        return reply if callback is None else callback(reply, **options)

    async def transaction(self, *commands: Sequence[Argument]) -> list[Any]:
        """Run commands atomically. Returns their raw replies.

        Raises the first error among them. Then none ran, unless the error arose while a command ran."""
        replies = await self.call_all([("MULTI",), *commands, ("EXEC",)])
        for reply in (*replies, *(replies[-1] if isinstance(replies[-1], list) else ())):
            if isinstance(reply, RedisError):
                raise reply
        return list(replies[-1])

    async def aclose(self) -> None:
        """Close the connections."""
        for pipeline in self._pipelines:
            await pipeline.aclose()

    async def _block(self, *command: Argument) -> Any:
        """Send a command that blocks on the server. Blocking commands need a separate client: cancelling the call
        closes its connection, so that the server drops the command, and other calls on it fail with ConnectionLost."""
        pipeline = self._least_busy()
        pipeline.calls += 1
        try:
            connection = await pipeline.connection()
            try:
                return await connection.execute(*command)
            except asyncio.CancelledError:
                connection.abort()
                raise
        finally:
            pipeline.calls -= 1

    def _least_busy(self) -> AutoPipeline:
        return min(self._pipelines, key=attrgetter("calls"))


def connect(url: str, *, max_connections: int, socket_timeout_s: float = 10.0) -> Redis:
    """Create a client with at most `max_connections`, which are opened on demand. Replies are bytes.

    A connection is closed when the server sends nothing for `socket_timeout_s` while a command is in flight. Raises
    ValueError for an invalid address."""
    return Client(url, max_connections, socket_timeout_s)


def check_url(url: str) -> str:
    """Return the address. Raises ValueError, which does not quote it, when it is invalid."""
    try:
        named, cluster = sentinel_address(url), cluster_address(url)
        sentinels = named.sentinels if named else ()
        seeds = map(cluster.at, cluster.seeds) if cluster else ()
        valid = all(map(_is_server, (*sentinels, *seeds, server_url(url))))
    except ValueError:
        valid = False
    if not valid:
        raise ValueError(
            "should be redis://host:6379/0, rediss://host:6379/0, unix:///path,"
            " redis+sentinel://host:26379,host:26379,host:26379/MASTER or, for logs, redis+cluster://host:6379,host:6379"
        )
    return url


def _is_server(url: str) -> bool:
    """Return whether this is the address of one server. Raises ValueError."""
    options = parse_url(url)
    database = "" if url.startswith("unix:") else urlsplit(url).path.strip("/")
    return not options.keys().isdisjoint({"host", "path"}) and (database or "0").isdecimal()


def user_of(url: str) -> str:
    """Return the name of the user in an address. Raises ValueError for an invalid address."""
    return str(parse_url(server_url(url)).get("username") or "default")
