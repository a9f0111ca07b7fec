"""The errors of Redis, and which of them last. Every failure of a connection is one of them, `ConnectionLost`."""

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
    "ConnectionLost",
    "ExecAbortError",
    "NoScriptError",
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

# Refusals that last. What is not among them passes: the errors of a proxy have codes and texts of its own.
_LASTING = (AuthenticationError, NoPermissionError)  # classes of redis-py, which drops the code of those that it knows
_LASTING_CODES = frozenset({"CROSSSLOT", "DENIED", "MOVED", "NOPROTO", "WRONGTYPE"})
_LASTING_TEXTS = (  # of errors with the code ERR, which redis-py drops
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
# Refusals of a command within a script that pass.
_PASSING = (ExecAbortError, NoScriptError, OutOfMemoryError, ReadOnlyError, RedisConnectionError)
_PASSING_CODES = frozenset({"BUSY", "CLUSTERDOWN", "MASTERDOWN", "MISCONF", "NOREPLICAS", "TRYAGAIN"})


class ConnectionLost(RedisConnectionError):
    """There is no connection, or it failed: refused, closed, reset, silent for too long, or not speaking the protocol.

    Also the reply to every command that was under way: whether the server carried it out is not known."""


class PipelineFull(RedisConnectionError):
    """Too many commands are under way on the connection, or too many bytes wait to be sent: this one was not sent."""


def is_full(error: ResponseError) -> bool:
    """Whether the server refused because it is at maxmemory."""
    return "maxmemory" in str(error) or str(error).startswith("OOM")


def is_lasting(error: RedisError) -> bool:
    """Whether repeating the command does not help until somebody changes the server or its data: the user lacks a right
    or is unknown, the key has another type, the command does not exist."""
    text = str(error)
    code = text.partition(" ")[0]
    if isinstance(error, _LASTING) or code in _LASTING_CODES or text.lower().startswith(_LASTING_TEXTS):
        return True
    # A script met a value that it cannot use, unless the server refused one of its commands for a while.
    return "user_script:" in text and not isinstance(error, _PASSING) and code not in _PASSING_CODES


def is_of_data(error: RedisError) -> bool:
    """Whether a script met a key of another type, or a value that it cannot use: other keys may be sound."""
    denied = isinstance(error, AuthenticationError | NoPermissionError) or "ACL failure" in str(error)
    return is_lasting(error) and not denied and ("WRONGTYPE" in str(error) or "user_script:" in str(error))
