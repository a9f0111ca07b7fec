"""Errors of Redis, and which of them are permanent. Every failure of a connection is a `ConnectionLost`."""

from __future__ import annotations

from redis.exceptions import (
    AuthenticationError,
    ExecAbortError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

__all__ = [
    "AuthenticationError",
    "CertificateRefused",
    "ConnectionLost",
    "ExecAbortError",
    "MasterLost",
    "NoPermissionError",
    "NoScriptError",
    "NotEnoughReplicas",
    "PipelineFull",
    "ReadOnlyError",
    "RedisConnectionError",
    "RedisError",
    "RedisTimeoutError",
    "ResponseError",
    "is_full",
    "is_lasting",
    "is_of_data",
]

# Permanent refusals. Every other one is retried: a proxy's errors have codes and texts that Redis does not use. A user
# that was removed, or whose password was changed, is waited for as a server that is away: nothing works without it.
_LASTING = (NoPermissionError,)  # redis-py maps this code to a class and drops the code
_LASTING_CODES = frozenset({"CROSSSLOT", "DENIED", "MOVED", "NOPROTO", "WRONGTYPE"})
_LASTING_TEXTS = (  # errors with the code ERR, which redis-py drops
    "acl failure in script",
    "db index is out of range",
    "error compiling script",
    "error running script",
    "invalid cursor",
    "invalid db index",
    "script attempted to access",
    "syntax error",
    "this redis command is not allowed from script",
    "unknown command",
    "unknown subcommand",
    "value is not",
    "wrong number of arguments",
)
# Temporary refusals of a command within a script.
_PASSING = (ExecAbortError, NoScriptError, OutOfMemoryError, ReadOnlyError, RedisConnectionError)
_PASSING_CODES = frozenset({"BUSY", "CLUSTERDOWN", "MASTERDOWN", "MISCONF", "NOREPLICAS", "TRYAGAIN"})


class ConnectionLost(RedisConnectionError):
    """No connection, or it failed: refused, closed, reset, timed out, or a protocol error.

    Also the reply to every command in flight: it is unknown whether the server ran it."""


class CertificateRefused(ConnectionLost):
    """The server's certificate is not trusted, is not that of the host, or the server does not speak TLS. Nothing was
    sent to it."""


class MasterLost(ConnectionLost):
    """A master of a cluster did not answer a SCAN. `next_cursor`: where the SCAN continues at the next master; 0 after
    the last one."""

    def __init__(self, message: str, next_cursor: int) -> None:
        super().__init__(message)
        self.next_cursor = next_cursor


class NotEnoughReplicas(ResponseError):
    """The server refuses writes, since too few replicas confirm them (min-replicas-to-write)."""


class PipelineFull(RedisConnectionError):
    """Too many commands in flight, or too many unsent bytes, on the connection: this command was not sent."""


def is_full(error: ResponseError) -> bool:
    """Return whether the server refused because it is at maxmemory."""
    return "maxmemory" in str(error) or str(error).startswith("OOM")


def is_lasting(error: RedisError) -> bool:
    """Return whether the error is permanent, so that a retry fails until the server or its data is changed.

    Examples: the user lacks a right, the key has another type, the command does not exist."""
    text = str(error)
    code = text.partition(" ")[0]
    if isinstance(error, _LASTING) or code in _LASTING_CODES or text.lower().startswith(_LASTING_TEXTS):
        return True
    # A script found an unusable value, unless one of its commands was refused temporarily.
    return "user_script:" in text and not isinstance(error, _PASSING) and code not in _PASSING_CODES


def is_of_data(error: RedisError) -> bool:
    """Return whether a script found a key of another type or an unusable value, so that other keys may work."""
    denied = isinstance(error, AuthenticationError | NoPermissionError) or "ACL failure" in str(error)
    return is_lasting(error) and not denied and ("WRONGTYPE" in str(error) or "user_script:" in str(error))
