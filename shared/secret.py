"""The random secret of a deployment, shared by all gateways."""

from __future__ import annotations

import secrets

from holdfast.shared import keys
from holdfast.shared.redis.client import Redis
from holdfast.shared.redis.errors import RedisError

SECRET_BYTES = 32


class Secret:
    """The secret, stored on the log server beside the sessions whose ids are derived from it.

    Never cached: after the server was emptied, gateways with a cached secret would disagree."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def read(self) -> bytes:
        """Return the secret, creating it if missing. Raises RedisError, also where it is empty."""
        while (found := await self._redis.get(keys.SECRET)) is None:
            await self._redis.set(keys.SECRET, secrets.token_bytes(SECRET_BYTES), nx=True)
        if not found:
            raise RedisError(f"the secret {keys.SECRET} is empty: delete the key, and a new one is created")
        return bytes(found)
