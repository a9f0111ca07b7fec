"""API keys, tenants and revocations, on the queue server. Only gateways and operators read them.

A key is `hf_<key id>_<secret>`. Only a SHA-256 digest of the secret is stored; it has 256 random bits, so that a slow
hash would add nothing. Every change increments a version, which gateways poll.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Collection, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

import orjson
from holdfast.shared import keys
from holdfast.shared.owner import check_tenant
from holdfast.shared.redis.client import Redis

KEY_PREFIX = "hf_"
SECRET_BYTES = 32
ANNOUNCEMENTS = 1000
ANNOUNCED = ("MAXLEN", "~", ANNOUNCEMENTS)


class ApiKey(NamedTuple):
    """An API key without its secret. `rights`: their names. Times are in ms since 1970."""

    key_id: str
    tenant: str
    digest: str
    rights: list[str]
    created_at: int
    expires_at: int | None = None
    name: str = ""

    def matches(self, secret: str) -> bool:
        """Return whether this is the key's secret, in constant time."""
        return hmac.compare_digest(self.digest, _digest(secret))


class Tenant(NamedTuple):
    """What a tenant may use; None: everything on offer."""

    agents: list[str] | None = None
    models: list[str] | None = None


class Version(NamedTuple):
    """The number of changes so far, as text, and what is stored as the secret that signs tickets."""

    changes: bytes | None
    secret: bytes | None


class AuthState(NamedTuple):
    """Everything that authentication needs, as of one version.

    Args:
        revoked: a tenant to the time in ms before which its tickets are void.
    """

    version: Version
    keys: Mapping[str, ApiKey]
    tenants: Mapping[str, Tenant]
    revoked: Mapping[str, int]

    @property
    def secret(self) -> bytes | None:
        """The secret that signs tickets; None where the stored one is too short to sign anything."""
        secret = self.version.secret
        return secret if secret is not None and len(secret) >= SECRET_BYTES else None


class Announced(NamedTuple):
    """Sessions, by their complete ids, whose tickets were revoked. `newest`: the id of the last entry. `partial`: there
    may be others, whose entries were dropped."""

    sessions: frozenset[str]
    newest: str
    partial: bool


class AuthStore:
    """Reads and changes the stored credentials. Every call raises RedisError when the server does not answer."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def version(self) -> Version:
        """Return what changes with every change, and when the server was emptied."""
        return Version(*await self._redis.mget(keys.AUTH_VERSION, keys.AUTH_SECRET))

    async def state(self) -> AuthState:
        """Read everything. Creates the secret if missing, in the same transaction: the server may be emptied before."""
        _, version, secret, found, tenants, revoked = await self._redis.transaction(
            ("SET", keys.AUTH_SECRET, secrets.token_bytes(SECRET_BYTES), "NX"),
            ("GET", keys.AUTH_VERSION),
            ("GET", keys.AUTH_SECRET),
            ("HGETALL", keys.AUTH_KEYS),
            ("HGETALL", keys.AUTH_TENANTS),
            ("HGETALL", keys.AUTH_REVOKED),
        )
        return AuthState(
            Version(version, secret),
            {key_id: ApiKey(*orjson.loads(record)) for key_id, record in _pairs(found)},
            {name: Tenant(*orjson.loads(record)) for name, record in _pairs(tenants)},
            {name: int(at) for name, at in _pairs(revoked)},
        )

    async def keys(self) -> list[ApiKey]:
        """Read all keys, for operators, who may not read the secret."""
        found = await self._redis.call("HGETALL", keys.AUTH_KEYS)
        return [ApiKey(*orjson.loads(record)) for _, record in _pairs(found)]

    async def tenants(self) -> dict[str, Tenant]:
        """Read what tenants may use, by their names."""
        found = await self._redis.call("HGETALL", keys.AUTH_TENANTS)
        return {name: Tenant(*orjson.loads(record)) for name, record in _pairs(found)}

    async def create_key(
        self, tenant: str, rights: Collection[str], name: str = "", expires_at: int | None = None
    ) -> tuple[ApiKey, str]:
        """Create a key. Returns it with its token, which is not stored. Raises RequestInvalid for a bad tenant name."""
        secret = secrets.token_urlsafe(SECRET_BYTES)
        key = ApiKey(
            secrets.token_hex(6), check_tenant(tenant), _digest(secret), sorted(rights), _now_ms(), expires_at, name
        )
        await self._change(("HSET", keys.AUTH_KEYS, key.key_id, orjson.dumps([*key])))
        return key, f"{KEY_PREFIX}{key.key_id}_{secret}"

    async def revoke_key(self, key_id: str) -> bool:
        """Delete a key; open streams of it end within seconds. Returns whether it existed."""
        return bool((await self._change(("HDEL", keys.AUTH_KEYS, key_id)))[0])

    async def set_tenant(self, name: str, tenant: Tenant) -> None:
        """Set what a tenant may use. Raises RequestInvalid for a bad name."""
        await self._change(("HSET", keys.AUTH_TENANTS, check_tenant(name), orjson.dumps([*tenant])))

    async def revoke_tickets(self, tenant: str) -> None:
        """Void all tickets and sign-ins of a tenant that were made before now."""
        await self._change(("HSET", keys.AUTH_REVOKED, tenant, _now_ms()))

    async def announce_revocation(self, session_id: str) -> None:
        """Have gateways check the streams that were opened with tickets of a session, by its complete id."""
        await self._redis.call("XADD", keys.AUTH_REVOCATIONS, *ANNOUNCED, "*", session_id, "")

    async def announced_since(self, entry_id: str) -> Announced:
        """Return the revocations that were announced from an entry on, which is `0` before the first."""
        found = await self._redis.call("XREVRANGE", keys.AUTH_REVOCATIONS, "+", entry_id, "COUNT", ANNOUNCEMENTS)
        sessions = frozenset(fields[0].decode() for _, fields in found)
        return Announced(sessions, found[0][0].decode() if found else entry_id, len(found) == ANNOUNCEMENTS)

    async def _change(self, *commands: Any) -> list[Any]:
        replies: list[Any] = await self._redis.transaction(*commands, ("INCR", keys.AUTH_VERSION))
        return replies


def parse_key(token: str) -> tuple[str, str] | None:
    """Return the key id and the secret of a token; None if it does not have the form of a key."""
    key_id, separator, secret = token[len(KEY_PREFIX) :].partition("_")
    return (key_id, secret) if token.startswith(KEY_PREFIX) and separator and secret else None


def _pairs(reply: Any) -> list[tuple[str, Any]]:
    items = reply.items() if isinstance(reply, Mapping) else zip(reply[::2], reply[1::2], strict=True)
    return [(bytes(name).decode(), value) for name, value in items]


def _digest(secret: str) -> str:
    return sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _now_ms() -> int:
    return int(time.time() * 1000)
