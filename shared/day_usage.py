"""What a tenant's jobs use per UTC day, on the queue server."""

from __future__ import annotations

import time
from collections.abc import Callable

from holdfast.shared.budget import REQUESTABLE, Amounts, BudgetExceeded
from holdfast.shared.errors import HoldfastError
from holdfast.shared.keys import usage_key
from holdfast.shared.redis.client import Redis

DAY_SECONDS = 86_400
KEPT_SECONDS = 3 * DAY_SECONDS
_WHOSE = "The tenant's budget of this day"
MAX_RETRY_AFTER_S = 3600  # a client that waits for long should ask again in between


class DayBudgetExhausted(HoldfastError):
    """The tenant has used up its budget of this UTC day. Nothing was accepted."""

    code = "budget_exhausted"
    status = 429
    title = "The budget of this day is used up"

    def __init__(self, name: str, retry_after_s: int) -> None:
        super().__init__(f"The tenant's budget of this day is used up ({name}); it is renewed at midnight UTC")
        self.retry_after_s = retry_after_s


class DayUsage:
    """Counts and checks the usage of tenants. `limits`: per day, by the names of shared/budget.py. `now_s`: the time
    since 1970. Every call raises RedisError."""

    def __init__(self, redis: Redis, limits: Amounts, now_s: Callable[[], float] = time.time) -> None:
        self._redis = redis
        self._limits = limits
        self._now_s = now_s

    def __bool__(self) -> bool:
        return bool(self._limits)

    async def add(self, tenant: str, amounts: Amounts) -> BudgetExceeded | None:
        """Add what a job of the tenant used. Returns an error where the day's budget is exceeded."""
        key = self._key(tenant)
        for name in REQUESTABLE:
            if amounts.get(name, 0) > 0:
                await self._redis.hincrbyfloat(key, name, amounts[name])
        await self._redis.expire(key, KEPT_SECONDS)
        used = await self._used(key)
        for name, limit in self._limits.items():
            if used[name] > limit:
                return BudgetExceeded(name, limit, _WHOSE)
        return None

    async def check(self, tenant: str) -> None:
        """Raise DayBudgetExhausted where nothing is left of the day's budget."""
        name = await self._used_up(tenant)
        if name is not None:
            left_s = DAY_SECONDS - int(self._now_s()) % DAY_SECONDS
            raise DayBudgetExhausted(name, min(left_s, MAX_RETRY_AFTER_S))

    async def nothing_left(self, tenant: str) -> BudgetExceeded | None:
        """Return an error for a job where nothing is left of the day's budget."""
        name = await self._used_up(tenant)
        return None if name is None else BudgetExceeded(name, self._limits[name], _WHOSE)

    async def _used_up(self, tenant: str) -> str | None:
        if not self._limits:
            return None
        used = await self._used(self._key(tenant))
        return next((name for name, limit in self._limits.items() if used[name] >= limit), None)

    async def _used(self, key: str) -> Amounts:
        values = await self._redis.hmget(key, *self._limits)
        return {name: float(value or 0) for name, value in zip(self._limits, values, strict=True)}

    def _key(self, tenant: str) -> str:
        return usage_key(tenant, time.strftime("%Y-%m-%d", time.gmtime(self._now_s())))
