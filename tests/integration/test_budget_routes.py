"""Budgets at the gateway: what a client asks for, what it is refused, and what it reads."""

from __future__ import annotations

from holdfast.shared.day_usage import DayUsage

from tests.support.served import served
from tests.support.workers import Client

BODY = {"agent": "scripted", "input": "tea"}


async def test_a_budget_above_the_deployments_is_422_and_a_smaller_one_is_shown(redis_url: str) -> None:
    async with served(redis_url, job_max_tokens=10, job_max_seconds=60) as gateway:
        await gateway.offer("scripted")
        refused = await gateway.client.post("/v1/jobs", json={**BODY, "budget": {"tokens": 11}})
        assert (refused.status_code, refused.json()["field"]) == (422, "budget.tokens")
        accepted = (await gateway.client.post("/v1/sessions/s/jobs", json={**BODY, "budget": {"tokens": 9}})).json()
        job = (await gateway.client.get(f"/v1/sessions/s/jobs/{accepted['job_id']}")).json()
        assert job["budget"] == {"limits": {"tokens": 9, "seconds": 60}, "used": {"tokens": 0, "seconds": 0}}


async def test_a_tenant_without_budget_left_is_429(redis_url: str) -> None:
    client = Client(redis_url)
    async with served(redis_url, tenant_tool_calls_per_day=1) as gateway:
        await gateway.offer("scripted")
        assert (await gateway.client.post("/v1/jobs", json=BODY)).status_code == 202
        await DayUsage(client.redis, {"tool_calls": 1}).add("", {"tool_calls": 1})
        refused = await gateway.client.post("/v1/jobs", json=BODY)
        assert (refused.status_code, refused.json()["code"]) == (429, "budget_exhausted")
        assert 0 < int(refused.headers["retry-after"]) <= 3600
    await client.close()
