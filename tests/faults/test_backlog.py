"""Jobs that wait in the backlog of their session."""

from __future__ import annotations

from tests.support.log import said
from tests.support.workers import Client, worker_on

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
