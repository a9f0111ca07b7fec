"""Connections to Redis or Valkey. No retries here: whoever sends a command knows whether it may be sent again."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool
from redis.asyncio import Redis as RedisClient
from redis.asyncio.connection import parse_url
from redis.commands.core import AsyncScript
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ExecAbortError, NoScriptError, ReadOnlyError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

__all__ = [
    "AsyncScript",
    "ExecAbortError",
    "NoScriptError",
    "ReadOnlyError",
    "Redis",
    "RedisConnectionError",
    "RedisError",
    "RedisTimeoutError",
    "ResponseError",
    "check_url",
    "connect",
    "is_full",
]


# redis-py 5 types every answer as `Awaitable[X] | X`, for both of its clients at once, which no `await` passes.
Redis = Any


def connect(url: str, *, max_connections: int, socket_timeout_s: float = 10.0) -> Redis:
    """A client whose pool holds at most so many connections; who finds none waits. Answers are bytes."""
    keepalive = {} if url.startswith("unix:") else {"socket_keepalive": True}
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=max_connections,
        timeout=socket_timeout_s,
        socket_timeout=socket_timeout_s,
        socket_connect_timeout=min(socket_timeout_s, 5.0),
        **keepalive,
    )
    return RedisClient.from_pool(pool)


def check_url(url: str) -> str:
    """Return the address. Raises ValueError, which does not quote it, when there can be no server at it."""
    try:
        options = parse_url(url)
        database = "" if url.startswith("unix:") else urlsplit(url).path.strip("/")
    except ValueError:
        options, database = {}, ""
    if options.keys().isdisjoint({"host", "path"}) or not (database or "0").isdecimal():
        raise ValueError("should be redis://host:6379/0, rediss://host:6379/0 or unix:///path")
    return url


def is_full(error: ResponseError) -> bool:
    """Whether the server refused because it is at maxmemory."""
    return "maxmemory" in str(error) or str(error).startswith("OOM")
