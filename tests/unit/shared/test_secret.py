from __future__ import annotations

from typing import Any

import pytest
from fakeredis import FakeAsyncRedis
from holdfast.shared import keys
from holdfast.shared.redis.errors import RedisError
from holdfast.shared.secret import Secret


class Early:
    """Reads before anybody has written, and writes afterwards."""

    def __init__(self, redis: Any) -> None:
        self._redis = redis
        self._is_early = True

    async def get(self, key: str) -> Any:
        is_early, self._is_early = self._is_early, False
        return None if is_early else await self._redis.get(key)

    async def set(self, *arguments: Any, **options: Any) -> None:
        await self._redis.set(*arguments, **options)


async def test_readers_that_find_none_agree_on_one() -> None:
    redis = FakeAsyncRedis()
    first = await Secret(redis).read()
    assert len(first) == 32
    assert await Secret(Early(redis)).read() == first
    assert await Secret(redis).read() == first
    await redis.aclose()


async def test_an_empty_one_is_refused() -> None:
    redis = FakeAsyncRedis()
    await redis.set(keys.SECRET, b"")
    with pytest.raises(RedisError, match="is empty"):
        await Secret(redis).read()
    await redis.aclose()
