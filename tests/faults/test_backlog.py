"""Jobs that wait in the backlog of their session."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from holdfast.shared.failpoints import EXIT_CODE
from holdfast.shared.keys import DEFERRED, READY
from holdfast.worker import Run

from tests.support.log import said
from tests.support.process import Processes, until
from tests.support.workers import Client, worker_on

HOUR_US = 3_600_000_000
LONG = {"tokens": 100_000, "interval_ms": 5}
SHORT = {"tokens": 1, "interval_ms": 0}


async def test_f67_a_waiting_job_starts_behind_interrupting_jobs_that_never_end(redis_url: str, client: Client) -> None:
    async with worker_on(redis_url):
        await client.offered("scripted")
        await client.post(job="first", options=LONG)
        await client.post(job="waits", options=SHORT)
        for number in range(30):
            await client.post(job=f"i{number}", options=LONG, on_busy="interrupt")
            await client.running(job=f"i{number}")
        assert (await client.job(job="waits")).status == "completed"


async def test_f67_the_newest_of_several_interrupting_jobs_runs_and_the_conversation_is_in_order(
    redis_url: str, client: Client
) -> None:
    async with worker_on(redis_url):
        await client.offered("scripted")
        await client.post(job="first", input="first", options=LONG)
        await client.spoke(job="first")
        await client.post(job="waits", input="waits", options=SHORT)
        for name in ("i1", "i2", "i3", "i4"):
            await client.post(job=name, input=name, options=SHORT, on_busy="interrupt")
        await client.end(job="waits")
        ends = {name: await client.end(job=name) for name in ("first", "i1", "i2", "i3", "i4", "waits")}
        messages = await said(client.sessions)
        inputs = [message["content"] for message in messages if message["role"] == "user"]
        assert inputs == ["first", *(name for name in inputs if name in ("i1", "i2", "i3")), "i4", "waits"]
        assert ends["first"]["by"] == "interrupt"
        assert [ends[name]["type"] for name in ("i4", "waits")] == ["job.completed", "job.completed"]
        assert {ends[name].get("by") for name in ("i1", "i2", "i3")} <= {"superseded", "interrupt"}
        await client.empty()


async def hold(run: Run) -> None:
    await asyncio.Event().wait()


async def put_away(client: Client, count: int, timeout_s: float = 30) -> None:
    """Wait until the entries of so many waiting jobs are not visible before a minute has passed."""

    async def look() -> bool:
        soonest = int((time.time() + 60) * 1_000_000)
        return bool(await client.redis.zcount(DEFERRED, soonest, "+inf") == count)

    await until(look, timeout_s, lambda: f"{count} entries to be put away")


@pytest.fixture
async def roomy(redis_url: str) -> AsyncIterator[Client]:
    """A client that is refused no job."""
    client = Client(redis_url, queue_limit=20_000, session_backlog_limit=101)
    yield client
    await client.close()


async def test_f69_thousands_of_waiting_jobs_are_not_touched_while_another_job_runs(
    redis_url: str, roomy: Client
) -> None:
    client = roomy
    async with worker_on(redis_url, [hold], max_jobs=200):
        await client.offered("scripted")
        for job in range(101):
            posts = (client.post(f"s{number}", f"j{job}", agent="hold") for number in range(30))
            await asyncio.gather(*posts)
        await put_away(client, 3000, timeout_s=100)
        waiting = await client.redis.zrange(DEFERRED, 0, -1, withscores=True)
        await client.post("beside", options=SHORT)
        await client.end("beside")
        assert await client.redis.zrange(DEFERRED, 0, -1, withscores=True) == waiting


@pytest.mark.parametrize("how", ["cancelled", "superseded", "deleted"])
async def test_the_entry_of_a_job_that_ends_while_it_waits_is_dropped_with_it(
    redis_url: str, client: Client, how: str
) -> None:
    async with worker_on(redis_url, [hold]):
        await client.offered("hold")
        await client.post(agent="hold")
        await client.running()
        await client.post(job="waits", on_busy="interrupt" if how == "superseded" else "queue")
        if how != "superseded":
            await put_away(client, 1)
        match how:
            case "cancelled":
                await client.cancel(job="waits")
                await client.end(job="waits")
                await client.cancel()
            case "superseded":
                await client.post(job="newer", options=SHORT, on_busy="interrupt")
            case "deleted":
                await client.delete()
        await client.empty()


async def test_a_waiting_job_starts_when_the_worker_dies_that_ended_the_one_before_it_as_cancelled(
    redis_url: str, client: Client, processes: Processes
) -> None:
    await client.offered_agents.offer({"scripted": {}})
    for job in ("j1", "j2"):
        await client.post(job=job, options=SHORT)
        await client.redis.zrem(READY + "scripted", f"s/{job}")
        await client.redis.zadd(DEFERRED, {f"s/{job}": int(time.time() * 1_000_000) + HOUR_US})
    await client.cancel()
    failpoint = {"HOLDFAST_FAILPOINTS": "after_settle_before_next_head=exit", "HOLDFAST_LEASE_SECONDS": "1"}
    assert await processes.worker(redis_url, **failpoint).wait() == EXIT_CODE
    assert (await client.end())["type"] == "job.cancelled"
    async with worker_on(redis_url, lease_seconds=1):
        assert (await client.end(job="j2"))["type"] == "job.completed"


@pytest.fixture
async def tight(redis_url: str) -> AsyncIterator[Client]:
    """A client whose queue is full with a hundred entries."""
    client = Client(redis_url, queue_limit=100, session_backlog_limit=100)
    yield client
    await client.close()


async def waiting(client: Client, count: int) -> None:
    """Submit so many jobs whose entries are not delivered within the hour."""
    await client.offered_agents.offer({"scripted": {}})
    for number in range(count):
        await client.post(job=f"j{number}", options=SHORT)
        await client.redis.zrem(READY + "scripted", f"s/j{number}")
        await client.redis.zadd(DEFERRED, {f"s/j{number}": int(time.time() * 1_000_000) + HOUR_US})


@pytest.mark.parametrize("how", ["deleted", "cancelled"])
async def test_entries_of_ended_jobs_are_not_counted_after_the_worker_died_that_ended_them(
    redis_url: str, tight: Client, processes: Processes, how: str
) -> None:
    client = tight
    await waiting(client, 100)
    if how == "deleted":
        await client.delete()
    else:
        for number in range(100):
            await client.cancel(job=f"j{number}")
    failpoint = {"HOLDFAST_FAILPOINTS": "after_settle_before_next_head=exit", "HOLDFAST_LEASE_SECONDS": "1"}
    assert await processes.worker(redis_url, **failpoint).wait() == EXIT_CODE
    async with worker_on(redis_url, lease_seconds=1):
        await client.empty()
        await client.post("next", options=SHORT)
        await client.end("next")


async def test_entries_of_waiting_jobs_are_not_counted_after_the_lease_owner_died_that_ended_them(
    redis_url: str, client: Client, processes: Processes
) -> None:
    failpoint = {"HOLDFAST_FAILPOINTS": "after_end_waiting=exit", "HOLDFAST_LEASE_SECONDS": "1"}
    dies = processes.worker(redis_url, **failpoint)
    await client.offered("scripted")
    await client.post(job="runs", options=LONG)
    await client.running(job="runs")
    await client.post(job="waits", options=SHORT)
    await put_away(client, 1)
    await client.cancel(job="waits")
    assert await dies.wait() == EXIT_CODE
    assert (await client.end(job="waits"))["type"] == "job.cancelled"
    async with worker_on(redis_url, lease_seconds=1):
        await client.cancel(job="runs")
        await client.empty()
