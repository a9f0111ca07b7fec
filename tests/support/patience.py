"""A test's own connection, which outlasts the faults that the test makes."""

from __future__ import annotations

from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff

from shared.redis import Redis, RedisConnectionError, RedisTimeoutError

EVERY_S = 0.1
TIMES = 300


def patient(client: Redis) -> Redis:
    """Make a fresh client repeat its commands while the server is away. Returns the client."""
    client.connection_pool.connection_kwargs |= {
        "retry": Retry(ConstantBackoff(EVERY_S), TIMES),
        "retry_on_error": [RedisConnectionError, RedisTimeoutError],
    }
    return client
