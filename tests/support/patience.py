"""A test's own connection, which outlasts the faults that the test makes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from holdfast.shared.redis.client import Redis
from holdfast.shared.redis.errors import RedisConnectionError, RedisTimeoutError

EVERY_S = 0.1
TIMES = 300


def patient(client: Redis) -> Redis:
    """Make a client repeat its commands while the server is away. Returns the client."""
    client.call, client.call_all = _again(client.call), _again(client.call_all)
    return client


def _again(call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def again(*arguments: Any) -> Any:
        for _ in range(TIMES):
            try:
                reply = await call(*arguments)
            except (RedisConnectionError, RedisTimeoutError):
                await asyncio.sleep(EVERY_S)
                continue
            if isinstance(reply, list) and any(isinstance(one, RedisConnectionError) for one in reply):
                await asyncio.sleep(EVERY_S)
                continue
            return reply
        return await call(*arguments)

    return again
