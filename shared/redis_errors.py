"""The errors of Redis. Every failure of a connection is one of them, `WireLost`, whatever raised it."""

from __future__ import annotations

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ExecAbortError, NoScriptError, ReadOnlyError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

__all__ = [
    "ExecAbortError",
    "NoScriptError",
    "PipeFull",
    "ReadOnlyError",
    "RedisConnectionError",
    "RedisError",
    "RedisTimeoutError",
    "ResponseError",
    "WireLost",
    "is_full",
]


class WireLost(RedisConnectionError):
    """There is no connection, or it failed: refused, closed, reset, silent for too long, or not speaking the protocol.

    Also the reply to every command that was under way: whether the server carried it out is not known."""


class PipeFull(RedisConnectionError):
    """Too many commands are under way on the connection, or too many bytes wait to be sent: this one was not sent."""


def is_full(error: ResponseError) -> bool:
    """Whether the server refused because it is at maxmemory."""
    return "maxmemory" in str(error) or str(error).startswith("OOM")
