"""A random secret of the deployment, the same for all gateways."""

from __future__ import annotations

import secrets

from holdfast.shared import keys
from holdfast.shared.redis import Redis, RedisError

SECRET_BYTES = 32


class Secret:
    """Kept on the log server, beside the sessions whose ids are derived from it, and not cached: gateways would differ
    once the server has come back empty."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def read(self) -> bytes:
        """The secret, which is made when there is none. Raises RedisError, also for an empty one."""
        while (found := await self._redis.get(keys.SECRET)) is None:
            await self._redis.set(keys.SECRET, secrets.token_bytes(SECRET_BYTES), nx=True)
        if not found:
            raise RedisError(f"the secret {keys.SECRET} is empty: delete the key, and a new one is made")
        return bytes(found)
