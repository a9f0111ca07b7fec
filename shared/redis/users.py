"""The Redis users of a deployment, each with the rights that its process needs and no others.

A right is a set of commands on a set of keys, and becomes a selector of the user's access control list: Redis allows a
command if one selector allows it with all its keys. A script needs `eval` and `evalsha` on all keys that it declares,
and each command that it calls is checked separately. So nobody gains a right by a script.

See https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from holdfast.shared import keys
from holdfast.shared.keys import PREFIX, QUEUE, session_keys

SESSION = session_keys("*")
ANY_OF_SESSION = PREFIX + "{*}:*"
ANY_OF_QUEUE = QUEUE + "*"


class Right(NamedTuple):
    """Commands, separated by spaces, on keys that match one of the patterns; no pattern for commands without keys."""

    commands: str
    keys: tuple[str, ...] = ()

    @property
    def rules(self) -> str:
        return " ".join([*(f"+{name}" for name in self.commands.split()), *(f"~{key}" for key in self.keys)])


class User(NamedTuple):
    """A user with its rights on every server, on the log server and on the queue server."""

    name: str
    every: tuple[Right, ...]
    log: tuple[Right, ...]
    queue: tuple[Right, ...]

    @property
    def on_log(self) -> tuple[Right, ...]:
        return (*self.every, *self.log)

    @property
    def needed_on_log(self) -> tuple[Right, ...]:
        """The rights on the log server without which the process does not work."""
        return tuple(right for right in self.on_log if right is not TRACKING)

    @property
    def on_cluster(self) -> tuple[Right, ...]:
        """The rights on each node of a log server that is a Redis Cluster."""
        return (*self.on_log, CLUSTER)

    @property
    def on_queue(self) -> tuple[Right, ...]:
        return (*self.every, *self.queue)

    @property
    def needed_on_queue(self) -> tuple[Right, ...]:
        """The rights on the queue server without which the process does not work."""
        return tuple(right for right in self.on_queue if right is not PRESENCE)

    @property
    def rules(self) -> str:
        """The rules of ACL SETUSER, apart from the password."""
        rights = (*self.every, *self.log, CLUSTER, *self.queue)
        keyless = " ".join(right.rules for right in rights if not right.keys)
        return " ".join([keyless, *(f"({right.rules})" for right in rights if right.keys)])


CLUSTER = Right("asking cluster|slots cluster|nodes")
_CONNECTION = Right("hello ping select info")
# A gateway works without it, more slowly: see gateway/stream/polling.py.
TRACKING = Right("client|tracking")
# A worker works without it, and finds dead ones later: see worker/process/presence.py.
PRESENCE = Right("client|id client|list")

GATEWAY = User(
    "gateway",
    every=(_CONNECTION, Right("multi exec discard time")),
    log=(
        TRACKING,
        Right("xread xrange xrevrange hget hmget lindex llen lpos lrange eval evalsha persist", (ANY_OF_SESSION,)),
        Right("hset hdel", (SESSION.state, SESSION.jobs, SESSION.idempotency, SESSION.journal)),
        Right("rpush", (SESSION.backlog, SESSION.order)),
        Right("linsert", (SESSION.backlog,)),
        Right("lpop", (SESSION.order,)),
        Right("get set", (keys.SECRET,)),
        Right("mget set", (keys.DATA_KEYS + "*",)),
    ),
    queue=(
        Right("eval evalsha", (ANY_OF_QUEUE, keys.SESSIONS)),
        Right("hget hmget hlen hsetnx hdel", (keys.ENTRIES,)),
        Right("zadd zrem zscore zrange", (keys.DEFERRED,)),
        Right("zadd zrem zscore zrange zcard", (keys.READY + "*",)),
        Right("sadd", (keys.AGAIN, keys.LANES)),
        Right("smembers", (keys.LANES, keys.LEASED + "*")),
        Right("hkeys hexists", (keys.WORKERS,)),
        Right("hmget hgetall", (keys.STATUSES,)),
        Right("llen lpush", (keys.WAKE,)),
        Right("lpush ltrim expire", (keys.MAILBOX + "*",)),
        Right("exists zscore zrangebyscore", (keys.AGENTS_SEEN,)),
        Right("exists hget hmget", (keys.AGENTS,)),
        Right("zadd zrem zrange zscore", (keys.SESSIONS,)),
        Right("hgetall", (keys.TENANT + "counts",)),
        Right("hget hincrby hdel sadd srem smembers zadd zrem zrange zscore zcard exists", (keys.TENANT + "*",)),
        Right("get set eval evalsha", (keys.RATE + "*",)),
        Right("get mget hget hgetall", (keys.AUTH + "*",)),
        Right("xadd xrevrange", (keys.AUTH_REVOCATIONS,)),
        Right("set", (keys.AUTH_SECRET,)),
        Right("hget hmget hgetall", (PREFIX + "usage:*",)),
    ),
)

WORKER = User(
    "worker",
    every=(_CONNECTION, Right("multi exec discard time")),
    log=(
        Right("xadd xrange xrevrange xlen xtrim xsetid eval evalsha del exists expire", (ANY_OF_SESSION,)),
        Right("hget hmget hgetall hexists hset hsetnx hincrby hdel", (ANY_OF_SESSION,)),
        Right("lindex llen lpos lrange rpush lpop lrem", (ANY_OF_SESSION,)),
        Right("scan"),
        Right("mget set", (keys.DATA_KEYS + "*",)),
    ),
    queue=(
        PRESENCE,
        Right("eval evalsha", (ANY_OF_QUEUE, keys.SESSIONS)),
        Right("hget hmget hgetall hkeys hexists hset hsetnx hincrby hdel", (ANY_OF_QUEUE,)),
        Right("zadd zrem zrange zrangebyscore zscore", (ANY_OF_QUEUE, keys.SESSIONS)),
        Right("sadd srem smembers sismember llen lpush blpop exists", (ANY_OF_QUEUE,)),
        Right("del", (keys.LEASED + "*", keys.MAILBOX + "*")),
        Right("set", (keys.RECOVERY_TURN, keys.CONNECTIONS_TURN)),
        Right("get set pttl del", (keys.GUESSED + "*",)),
        Right("hget hmget hgetall hincrby hincrbyfloat expire", (PREFIX + "usage:*",)),
    ),
)

_READS = (
    "exists type ttl hget hmget hgetall hkeys hlen lindex llen lrange smembers scard"
    " zrange zrangebyscore zscore zcard xread xrange xrevrange xlen xinfo|stream memory|usage"
)
OPERATOR = User(
    "operator",
    every=(_CONNECTION, Right("multi exec discard time scan dbsize")),
    log=(
        Right(_READS, (ANY_OF_SESSION,)),
        Right("get mget set del eval evalsha", (keys.DATA_KEYS + "*",)),
    ),
    queue=(
        Right(_READS, (ANY_OF_QUEUE, keys.SESSIONS)),
        Right("hget hgetall hset hdel", (keys.AUTH_KEYS, keys.AUTH_TENANTS, keys.AUTH_REVOKED)),
        Right("get incr", (keys.AUTH_VERSION,)),
    ),
)

USERS = (GATEWAY, WORKER, OPERATOR)


def user_rules(user: User, passwords: Sequence[str]) -> str:
    """Return the rules that define a user from nothing, with the SHA-256 digests of its passwords."""
    digests = " ".join("#" + hashlib.sha256(password.encode()).hexdigest() for password in passwords)
    return f"{user.name} reset on {digests} {user.rules}"
