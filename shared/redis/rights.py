"""Find out which commands a server refuses to the user of a connection, without one that needs rights of its own.

Redis checks a command, and the user's rights, when a transaction queues it. So each command is queued and none is run:
the connection is closed before EXEC.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from holdfast.shared.redis.address import cluster_address
from holdfast.shared.redis.cluster_reports import master_urls
from holdfast.shared.redis.connection import RedisConnection
from holdfast.shared.redis.errors import NoPermissionError, ResponseError
from holdfast.shared.redis.sentinel import open_connection
from holdfast.shared.redis.users import CLUSTER, Right

# The arguments with which a command can be queued, where they are not just the key.
ARGUMENTS = {
    "blpop": "KEY 0",
    "client|tracking": "ON",
    "eval": "0 1 KEY",
    "evalsha": "0 1 KEY",
    "expire": "KEY 1",
    "hdel": "KEY f",
    "hello": "",
    "hexists": "KEY f",
    "hget": "KEY f",
    "hincrby": "KEY f 1",
    "hmget": "KEY f",
    "hset": "KEY f v",
    "hsetnx": "KEY f v",
    "lindex": "KEY 0",
    "linsert": "KEY BEFORE v v",
    "lpos": "KEY v",
    "lpush": "KEY v",
    "lrange": "KEY 0 0",
    "lrem": "KEY 0 v",
    "ltrim": "KEY 0 0",
    "rpush": "KEY v",
    "sadd": "KEY v",
    "scan": "0",
    "select": "0",
    "set": "KEY v",
    "sismember": "KEY v",
    "srem": "KEY v",
    "xadd": "KEY * f v",
    "xrange": "KEY - +",
    "xread": "STREAMS KEY 0",
    "xrevrange": "KEY + -",
    "xsetid": "KEY 1-1",
    "xtrim": "KEY MAXLEN 1",
    "zadd": "KEY 0 v",
    "zrange": "KEY 0 0",
    "zrangebyscore": "KEY 0 0",
    "zrem": "KEY v",
    "zscore": "KEY v",
}
_NOT_QUEUED = frozenset({"multi", "exec", "discard"})  # within a transaction these act on it


class Refusals(NamedTuple):
    """What a server refuses. `rights`: those that the user lacks, as `HSET, HDEL on holdfast:{*}:state`. `commands`:
    those that the server does not have, as `XSETID`; some managed services lack or rename commands."""

    rights: list[str]
    commands: list[str]

    def sentences(self, user: str) -> list[str]:
        """Say what is missing, one sentence each."""
        lacking = [f"the server has no command {name}" for name in self.commands]
        return [*lacking, *(f"the user {user} may not {right}" for right in self.rights)]


async def refusals(url: str, rights: Sequence[Right], deadline_s: float) -> Refusals:
    """Return which of these rights the user in the address lacks, and which of their commands the server; for the
    address of a Redis Cluster, on any of its masters.

    Raises RedisError when a server does not answer or refuses the user."""
    if cluster_address(url) is not None:
        rights = (*rights, CLUSTER)
    found = [await _refusals_of(server, rights, deadline_s) for server in await master_urls(url)]
    lacking = dict.fromkeys(right for refused in found for right in refused.rights)
    return Refusals([*lacking], [*dict.fromkeys(name for refused in found for name in refused.commands)])


async def _refusals_of(url: str, rights: Sequence[Right], deadline_s: float) -> Refusals:
    connection = await open_connection(RedisConnection, url, deadline_s)
    try:
        await connection.execute("MULTI")
        sent = [*probes(rights)]
        replies = await connection.execute_all([command for _, _, command in sent])
    except NoPermissionError:
        return Refusals(["MULTI"], [])
    except ResponseError as error:
        if not _is_unknown(error):
            raise
        return Refusals([], ["MULTI"])
    finally:
        connection.abort()
    missing: dict[str, list[str]] = {}
    unknown: dict[str, None] = {}
    for (name, pattern, _), reply in zip(sent, replies, strict=True):
        shown = name.replace("|", " ").upper()
        if isinstance(reply, NoPermissionError):
            missing.setdefault(pattern, []).append(shown)
        elif _is_unknown(reply):
            unknown[shown] = None
    lacking = [", ".join(names) + (f" on {pattern}" if pattern else "") for pattern, names in missing.items()]
    return Refusals(lacking, [*unknown])


async def missing_rights(url: str, rights: Sequence[Right], deadline_s: float) -> list[str]:
    """Return the rights that the user in the address lacks, as `refusals` does."""
    return (await refusals(url, rights, deadline_s)).rights


def _is_unknown(reply: object) -> bool:
    """Return whether the server does not have a command: it was removed, renamed, or never there."""
    return isinstance(reply, ResponseError) and str(reply).lower().startswith(("unknown command", "unknown subcommand"))


def probes(rights: Sequence[Right]) -> Iterator[tuple[str, str, list[str]]]:
    """Yield each command with the pattern of its key and a call of it."""
    for right in rights:
        for name in right.commands.split():
            for pattern in () if name in _NOT_QUEUED else right.keys or ("",):
                key = pattern.replace("*", "rights")
                arguments = ARGUMENTS.get(name, "KEY" if pattern else "").split()
                yield name, pattern, [*name.split("|"), *(key if word == "KEY" else word for word in arguments)]
