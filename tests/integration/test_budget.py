"""Budgets of jobs: what a job uses over all attempts is counted, and ends the job when it is too much."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest
from holdfast.shared.log.log_replies import Attempt
from holdfast.worker.sdk.run import Run

from tests.support.process import Process, Processes, until
from tests.support.workers import Client, worker_on

Start = Callable[..., Process]
AGENTS = """
import asyncio
from holdfast.worker import agent

@agent
async def spends(run):
    await run.usage(30, 20, "m")
    async with run.tool("look", {}) as call:
        call.result = 1
    await run.text("spent")
    await run.flush()
    if run.attempt == 1:
        await asyncio.Event().wait()
    await run.text(" again")
    await run.usage(30, 21, "m")
    await run.tool_called("c9", "look", {})
    await run.text(" in vain")

@agent
async def keeps(run):
    async with run.section("first", checkpoint=True):
        await run.usage(30, 20, "m")
        await run.tool_started("c1", "look")
        await run.tool_called("c1", "look", {})
    await run.text("kept")
    await run.flush()
    if run.attempt == 1:
        await asyncio.Event().wait()
    await run.usage(30, 10, "m")
    await run.tool_called("c2", "look", {})

@agent
async def runs(run):
    await run.text("runs")
    await asyncio.Event().wait()
"""


def budget(**limits: float) -> bytes:
    return orjson.dumps(limits)


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    client = Client(redis_url)
    yield client
    await client.close()


@pytest.fixture
def start(processes: Processes, redis_url: str, tmp_path: Path) -> Start:
    (tmp_path / "agents_of_budgets.py").write_text(AGENTS)
    common = {
        "HOLDFAST_LEASE_SECONDS": "1",
        "HOLDFAST_AGENTS": "agents_of_budgets",
        "HOLDFAST_MODEL_PRICES": "m=1000/2000",
        "PYTHONPATH": str(tmp_path),
    }
    return lambda **env: processes.worker(redis_url, **(common | env))


async def error_of(client: Client, session: str = "s") -> dict[str, Any]:
    ending = await client.end(session)
    assert ending["type"] == "job.failed", ending
    return dict(ending["error"])


async def spender(run: Run) -> str:
    for number in range(3):
        await run.text(f"{number} ")
        await run.usage(3, 2, "m-2026-01-01")
        await run.tool_started(f"c{number}", "t")
        await run.tool_called(f"c{number}", "t", {})
    return "done"


async def swallower(run: Run) -> str:
    with suppress(Exception):  # as frameworks do in their callbacks
        await run.usage(30, 20, "m")
    return "done"


@pytest.mark.parametrize(
    ("limits", "amount", "said"),
    [
        ({"tokens": 9}, "9 tokens", "0 1 "),
        ({"tool_calls": 1}, "1 tool calls", "0 1 "),
        ({"cost_usd": 0.015}, "0.015 USD", "0 1 2 "),
        ({"events": 4}, "4 events", "0 "),
    ],
)
async def test_a_budget_ends_the_job_and_keeps_what_was_emitted(
    client: Client, redis_url: str, limits: dict[str, float], amount: str, said: str
) -> None:
    async with worker_on(redis_url, [spender], model_prices="m=1000/1500"):
        await client.offered("spender")
        await client.post(agent="spender", budget=budget(**limits))
        error = await error_of(client)
    assert (error["code"], error["retryable"]) == ("budget_exceeded", False)
    assert amount in error["message"]
    assert next(iter(limits)) in error["message"]
    assert await client.said() == said


async def test_a_job_within_its_budget_completes_and_shows_what_it_used(client: Client, redis_url: str) -> None:
    async with worker_on(redis_url, [spender]):
        await client.offered("spender")
        await client.post(agent="spender", budget=budget(tokens=15, tool_calls=3, seconds=600))
        assert (await client.end())["type"] == "job.completed"
        found = (await client.job()).budget
    assert found is not None
    assert found["limits"] == {"tokens": 15, "tool_calls": 3, "seconds": 600}
    assert found["used"] == {"tokens": 15, "tool_calls": 3, "seconds": found["used"]["seconds"]}
    assert found["used"]["seconds"] > 0


async def test_run_time_is_budgeted(client: Client, redis_url: str) -> None:
    async with worker_on(redis_url):
        await client.offered("scripted")
        await client.post(options={"tokens": 1000, "interval_ms": 1000}, budget=budget(seconds=0.2))
        error = await error_of(client)
    assert error["code"] == "budget_exceeded"
    assert "0.2 seconds" in error["message"]


async def test_an_agent_that_swallows_the_error_fails_nevertheless(client: Client, redis_url: str) -> None:
    async with worker_on(redis_url, [swallower]):
        await client.offered("swallower")
        await client.post(agent="swallower", budget=budget(tokens=49))
        assert (await error_of(client))["code"] == "budget_exceeded"


async def looker(run: Run) -> list[dict[str, float]]:
    seen = [run.budget]
    await run.usage(3, 2, "m")
    await run.agent("sub").tool_called("c1", "t", {})
    seen.append(run.agent("sub").budget)
    run.budget.clear()
    return [*seen, run.budget]


async def test_an_agent_sees_what_is_left(client: Client, redis_url: str) -> None:
    async with worker_on(redis_url, [looker], model_prices="m=1000/1500"):
        await client.offered("looker")
        await client.post(agent="looker", budget=budget(tokens=9, cost_usd=0.01, seconds=60, tool_calls=2, events=9))
        first, second, third = (await client.end())["result"]
        await client.post(job="j2", agent="looker")
        assert (await client.end(job="j2"))["result"] == [{}, {}, {}]
    assert first | {"seconds": 60} == {"tokens": 9, "cost_usd": 0.01, "seconds": 60, "tool_calls": 2}
    assert second | {"seconds": 60} == {"tokens": 4, "cost_usd": 0.004, "seconds": 60, "tool_calls": 1}
    assert third.keys() == second.keys()
    assert 60 > first["seconds"] > second["seconds"] > 0


async def asker(run: Run) -> dict[str, float]:
    await run.ask("Which?")
    return run.budget


async def test_time_that_a_job_waits_for_a_person_is_not_counted(client: Client, redis_url: str) -> None:
    async with worker_on(redis_url, [asker]):
        await client.offered("asker")
        await client.post(agent="asker", budget=budget(seconds=1))
        await client.until("s", "j1", lambda job: job.question is not None)
        asked = (await client.sessions.webhook("s", "j1")).asked_at or 0
        await until(lambda: time.time() * 1000 > asked + 1100)
        question = (await client.job()).question or {}
        answered = await client.sessions.answer("s", "j1", question["question_id"], b'"this"')
        assert answered.lease_owner is not None
        await client.queue.notify(answered.lease_owner, "s")
        assert 0 < (await client.end())["result"]["seconds"] < 1


async def test_a_budget_ends_an_isolated_attempt(client: Client, start: Start) -> None:
    await client.offered_agents.offer({"spends": {}})
    await client.post(agent="spends", budget=budget(tokens=20))
    claimed = await client.log_writer.claim("s", "j1", delivery=1, claim_id="dead", worker_id="dead", offered=True)
    assert isinstance(claimed, Attempt)
    worker = start(HOLDFAST_MAX_ATTEMPTS="2")
    error = await error_of(client)
    assert error["message"] == "The job's budget of 20 tokens (tokens) is exceeded"
    await worker.until_output("job failed")


@pytest.mark.parametrize("prices", ["", "other=1/1"])
async def test_a_cost_budget_needs_the_price_of_the_model(client: Client, redis_url: str, prices: str) -> None:
    async with worker_on(redis_url, [swallower], model_prices=prices):
        await client.offered("swallower")
        await client.post(agent="swallower", budget=budget(cost_usd=1))
        assert (await error_of(client))["code"] == "price_unknown"


@pytest.mark.parametrize("limits", [{"tokens": 120}, {"tool_calls": 2}])
async def test_a_takeover_after_a_kill_counts_on(client: Client, start: Start, limits: dict[str, float]) -> None:
    first = start()
    await client.offered("spends")
    await client.post(agent="spends", budget=budget(**limits))
    await client.spoke()
    start()
    first.kill()
    assert (await error_of(client))["code"] == "budget_exceeded"
    assert (await client.said()).startswith("spent again")
    assert (await client.job()).attempt == 2


async def test_kept_events_are_not_counted_twice(client: Client, start: Start) -> None:
    first = start()
    await client.offered("keeps")
    await client.post(agent="keeps", budget=budget(tokens=90, tool_calls=2))
    await client.spoke()
    start()
    first.kill()
    assert (await client.end())["type"] == "job.completed"
    found = await client.job()
    assert found.attempt == 2
    assert found.budget is not None
    assert found.budget["used"] == {"tokens": 90, "tool_calls": 2}


async def test_a_takeover_after_a_kill_counts_run_time_on(client: Client, start: Start) -> None:
    first = start()
    await client.offered("runs")
    await client.post(agent="runs", budget=budget(seconds=2))

    async def used() -> float:
        found = (await client.job()).budget
        return 0 if found is None else found["used"]["seconds"]

    async def ran() -> bool:
        return await used() >= 0.5

    await until(ran, 30, lambda: "the run time is not recorded")
    start()
    first.kill()
    before = await used()
    assert (await error_of(client))["code"] == "budget_exceeded"
    job = await client.job()
    assert job.attempt == 2
    assert before < 2
    assert await used() >= 2
    last = [event for event in await client.events() if event["type"] == "job.started"][-1]
    assert job.ended_at is not None
    assert job.ended_at - last["at"] < 2000  # it did not get the whole budget again
