"""Find out which rights the user of a connection lacks, without a command that needs rights of its own.

Redis checks the rights of a command when a transaction queues it. So each command is queued and none is run: the
connection is closed before EXEC.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from holdfast.shared.redis.address import cluster_address
from holdfast.shared.redis.cluster_reports import master_urls
from holdfast.shared.redis.connection import RedisConnection
from holdfast.shared.redis.errors import NoPermissionError
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


async def missing_rights(url: str, rights: Sequence[Right], deadline_s: float) -> list[str]:
    """Return the rights that the user in the address lacks, as `HSET, HDEL on holdfast:{*}:state`; for the address of a
    Redis Cluster, those that the user lacks on any of its masters.

    Raises RedisError when a server does not answer or refuses the user."""
    if cluster_address(url) is not None:
        rights = (*rights, CLUSTER)
    found = [await _missing_on(server, rights, deadline_s) for server in await master_urls(url)]
    return [*dict.fromkeys(right for missing in found for right in missing)]


async def _missing_on(url: str, rights: Sequence[Right], deadline_s: float) -> list[str]:
    connection = await RedisConnection.open(url, deadline_s)
    try:
        await connection.execute("MULTI")
        sent = [*probes(rights)]
        replies = await connection.execute_all([command for _, _, command in sent])
    except NoPermissionError:
        return ["MULTI"]
    finally:
        connection.abort()
    missing: dict[str, list[str]] = {}
    for (name, pattern, _), reply in zip(sent, replies, strict=True):
        if isinstance(reply, NoPermissionError):
            missing.setdefault(pattern, []).append(name.replace("|", " ").upper())
    return [", ".join(names) + (f" on {pattern}" if pattern else "") for pattern, names in missing.items()]


def probes(rights: Sequence[Right]) -> Iterator[tuple[str, str, list[str]]]:
    """Yield each command with the pattern of its key and a call of it."""
    for right in rights:
        for name in right.commands.split():
            for pattern in () if name in _NOT_QUEUED else right.keys or ("",):
                key = pattern.replace("*", "rights")
                arguments = ARGUMENTS.get(name, "KEY" if pattern else "").split()
                yield name, pattern, [*name.split("|"), *(key if word == "KEY" else word for word in arguments)]
