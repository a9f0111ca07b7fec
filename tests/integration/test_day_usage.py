"""Budgets of a tenant per UTC day."""

from __future__ import annotations

import pytest
from holdfast.shared.day_usage import DAY_SECONDS, DayBudgetExhausted, DayUsage
from holdfast.worker.sdk.run import Run

from tests.support.workers import Client, worker_on

NOON = 20_000 * DAY_SECONDS + DAY_SECONDS / 2


async def test_a_day_is_refused_when_used_up_and_renewed_on_the_next(redis_url: str) -> None:
    client, now = Client(redis_url), [NOON]
    usage = DayUsage(client.redis, {"tokens": 10}, lambda: now[0])
    assert await usage.add("t", {"tokens": 10}) is None
    with pytest.raises(DayBudgetExhausted) as refused:
        await usage.check("t")
    assert refused.value.retry_after_s == 3600
    await usage.check("other")
    assert await usage.add("t", {"tokens": 1}) is not None
    now[0] += DAY_SECONDS / 2
    await usage.check("t")
    await client.close()


async def spender(run: Run) -> str:
    await run.usage(3, 2, "m")
    return "done"


async def test_a_running_job_ends_when_the_day_is_used_up(redis_url: str) -> None:
    client = Client(redis_url)
    async with worker_on(redis_url, [spender], tenant_tokens_per_day=9):
        await client.offered("spender")
        await client.post("s", agent="spender")
        assert (await client.end("s"))["type"] == "job.completed"
        await client.post("s2", agent="spender")
        assert (await client.end("s2"))["error"]["code"] == "budget_exceeded"
    await client.close()
