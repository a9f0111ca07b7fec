"""Budgets of a tenant per UTC day."""

from __future__ import annotations

import asyncio

import pytest
from holdfast.shared.day_usage import DAY_SECONDS, DayBudgetExhausted, DayUsage
from holdfast.worker.agents.chat import chat_agent
from holdfast.worker.agents.models import known_models
from holdfast.worker.sdk.run import Run, RunEnded

from tests.support.record import Record, a_run
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


async def test_jobs_that_were_accepted_before_the_day_was_used_up_use_no_more_than_their_slots(redis_url: str) -> None:
    client, used = Client(redis_url), list[int]()

    async def call(run: Run) -> None:
        await asyncio.sleep(0.01)  # others start meanwhile
        used.append(1000)
        await run.usage(500, 500, "m")

    await client.offered_agents.offer({"call": {}})
    for number in range(120):
        await client.post(f"s{number}", agent="call")
    async with worker_on(redis_url, [call], max_jobs=4, tenant_tokens_per_day=1000):
        ends = [await client.end(f"s{number}") for number in range(120)]
    assert sum(used) <= 4000
    assert {end["error"]["code"] for end in ends if end["type"] == "job.failed"} == {"budget_exceeded"}
    await client.close()


async def test_a_running_job_begins_no_call_with_nothing_left_of_the_day(redis_url: str) -> None:
    client, calls = Client(redis_url), list[int]()

    async def talks(run: Run) -> None:
        while True:
            await run.check_budget()
            calls.append(1)
            await run.usage(500, 500, "m")

    async with worker_on(redis_url, [talks], tenant_tokens_per_day=2000):
        await client.offered("talks")
        await client.post(agent="talks")
        assert (await client.end())["error"]["code"] == "budget_exceeded"
    assert len(calls) == 2
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


async def test_a_chat_agent_sends_no_request_with_nothing_left_of_the_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    models = known_models("m=openai:m@http://127.0.0.1:1/v1")  # where nothing listens

    async def check_day() -> None:
        raise RunEnded

    run = a_run(Record(), check_day=check_day)
    with pytest.raises(RunEnded):
        await chat_agent(models["m"], models)(run)
