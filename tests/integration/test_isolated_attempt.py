"""A job's last attempt runs in a process of its own, and is told, stopped and ended like any other."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from holdfast.shared.keys import DEFERRED
from holdfast.shared.log.log_replies import Attempt

from tests.support.log import said
from tests.support.process import Process, Processes, until
from tests.support.workers import Client

Start = Callable[..., Process]

AGENTS = """
import asyncio, os, time
from holdfast.worker import agent

async def begin(run):
    await run.data("pid", os.getpid())
    await run.flush()

@agent
async def speaks(run):
    await begin(run)
    print("printed, and no message to the worker")
    if run.options.get("ask"):
        await run.text(str(await run.ask("go on?")))
    await run.text("and done")
    return {"history": len(run.history)}

@agent
async def returns(run):
    await begin(run)
    return "the answer"

@agent
async def lasts(run):
    await begin(run)
    await asyncio.Event().wait()

@agent
async def exits(run):
    await begin(run)
    os._exit(3)

@agent
async def blocks(run):
    await begin(run)
    time.sleep(3600)

@agent
async def naps(run):
    await begin(run)
    time.sleep(9)
"""


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    client = Client(redis_url, max_attempts=2)
    yield client
    await client.close()


@pytest.fixture
def start(processes: Processes, redis_url: str, tmp_path: Path) -> Start:
    """`start(HOLDFAST_…="…")` starts a worker with a lease of a second, two attempts, and the agents above."""
    (tmp_path / "agents_alone.py").write_text(AGENTS)
    common = {
        "HOLDFAST_LEASE_SECONDS": "1",
        "HOLDFAST_LOG_FORMAT": "json",
        "HOLDFAST_AGENTS": "agents_alone",
        "HOLDFAST_MAX_ATTEMPTS": "2",
        "PYTHONPATH": str(tmp_path),
    }
    return lambda **env: processes.worker(redis_url, **(common | env))


async def struck(client: Client, agent: str, session: str = "s", **rest: Any) -> None:
    """Queue a job that has lost a worker already."""
    await client.offered_agents.offer({agent: {}})
    await client.post(session, agent=agent, **rest)
    claimed = await client.log_writer.claim(session, "j1", delivery=1, claim_id="dead", worker_id="dead", offered=True)
    assert isinstance(claimed, Attempt)


async def pid(client: Client, session: str = "s") -> int:
    """The process of the attempt that speaks."""

    async def look() -> bool:
        return "data" in await client.kinds(session)

    await until(look)
    return next(int(event["value"]) for event in await client.events(session) if event["type"] == "data")


def lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


async def test_it_runs_beside_the_worker_and_ends_as_ever(client: Client, start: Start) -> None:
    await struck(client, "speaks")
    worker = start()
    assert (await client.end())["result"] == {"history": 0}
    assert await pid(client) != worker.pid
    assert await client.kinds() == ["job.started", "job.started", "data", "text.delta", "job.completed"]
    await client.empty()
    await worker.until_output("job completed")
    await client.post("s", "j2", agent="speaks")
    assert (await client.end("s", "j2"))["result"] == {"history": 2}
    assert (await client.events("s", "j2"))[1]["value"] == worker.pid


async def test_a_text_that_it_returns_is_the_answer(client: Client, start: Start) -> None:
    await struck(client, "returns")
    worker = start()
    assert (await client.end())["result"] == "the answer"
    assert await pid(client) != worker.pid
    assert await client.said() == "the answer"
    messages = await said(client.sessions)
    assert messages[-1]["content"] == "the answer"


async def test_with_a_single_attempt_jobs_run_in_the_worker(client: Client, start: Start) -> None:
    worker = start(HOLDFAST_MAX_ATTEMPTS="1")
    await client.offered("speaks")
    await client.post(agent="speaks")
    await client.end()
    assert await pid(client) == worker.pid


async def test_it_is_cancelled(client: Client, start: Start) -> None:
    await struck(client, "lasts")
    start()
    process = await pid(client)
    await client.post("s", "j2", agent="speaks")
    await client.cancel()
    assert (await client.end())["type"] == "job.cancelled"
    assert (await client.end("s", "j2"))["type"] == "job.completed"
    await until(lambda: not lives(process))
    await client.empty()


async def test_its_session_is_deleted_with_a_job_that_waits_behind_it(client: Client, start: Start) -> None:
    await struck(client, "lasts")
    start()
    process = await pid(client)
    await client.post("s", "j2", agent="speaks")
    await client.redis.zadd(DEFERRED, {"s/j2": 9e15})  # not visible in this test's time
    await client.delete()
    await until(lambda: not lives(process))
    await client.empty()


async def test_it_times_out(client: Client, start: Start) -> None:
    await struck(client, "lasts", timeout_s=1)
    start()
    assert (await client.end())["error"]["code"] == "timeout"
    await client.empty()


async def test_it_asks_a_person(client: Client, start: Start) -> None:
    await struck(client, "speaks", options={"ask": True})
    start(HOLDFAST_MAX_JOBS="1")
    process = await pid(client)
    await client.until("s", "j1", lambda job: job.status == "waiting")
    await client.post("t", agent="speaks")  # it takes no slot meanwhile
    await client.end("t")
    question = next(event["question_id"] for event in await client.events() if event["type"] == "question.asked")
    answered = await client.sessions.answer("s", "j1", question, b'"yes"')
    assert answered.lease_owner is not None
    await client.queue.notify(answered.lease_owner, "s")
    assert (await client.end())["type"] == "job.completed"
    assert await client.said() == "yesand done"
    assert await pid(client) == process


async def test_f75_one_that_blocks_its_event_loop_is_logged_and_keeps_its_lease(client: Client, start: Start) -> None:
    """For three leases, as in the worker: it is not killed for its silence before."""
    await struck(client, "naps")
    worker = start(HOLDFAST_LEASE_SECONDS="3")
    assert (await client.end())["type"] == "job.completed"
    assert (await client.job()).attempt == 2
    lines = [json.loads(line) for line in worker.output().splitlines() if line.startswith("{")]
    [blocked] = [line for line in lines if line["event"] == "event loop is blocked" and line["agent"]]
    assert (blocked["agent"], blocked["session_id"], blocked["job_id"]) == ("naps", "s", "j1")


@pytest.mark.parametrize("agent", ["exits", "blocks"])
async def test_its_death_poisons_it_at_once_and_nothing_else(client: Client, start: Start, agent: str) -> None:
    await struck(client, agent)
    worker = start()
    await client.offered("scripted")
    await client.post("t", options={"tokens": 100, "interval_ms": 20})
    process = await pid(client)
    assert (await client.end())["error"]["code"] == "poisoned"
    await until(lambda: not lives(process))
    assert (await client.end("t"))["type"] == "job.completed"
    assert (await client.job("t")).attempt == 1
    assert worker.output().count("the process of the last attempt died") == 1
    await client.empty()


async def test_a_worker_that_must_stop_gives_it_back_without_a_strike(client: Client, start: Start) -> None:
    await struck(client, "lasts")
    worker = start(HOLDFAST_GRACE_SECONDS="0")
    process = await pid(client)
    worker.terminate()
    assert await worker.wait() == 0
    assert not lives(process)
    assert (await client.job()).status == "queued"
    start()
    await client.running()
    assert (await client.job()).attempt == 3


@pytest.mark.parametrize("agent", ["lasts", "blocks"])
async def test_it_ends_with_its_worker(client: Client, start: Start, agent: str) -> None:
    await struck(client, agent)
    worker = start()
    process = await pid(client)
    worker.kill()
    await until(lambda: not lives(process))


async def test_a_ninth_waits_for_its_turn_and_is_cancelled_meanwhile(client: Client, start: Start) -> None:
    sessions = [f"s{number}" for number in range(9)]
    for session in sessions:
        await struck(client, "lasts", session)
    start()

    async def begun() -> set[str]:
        return {session for session in sessions if "data" in await client.kinds(session)}

    async def full() -> bool:
        return len(await begun()) == 8

    await until(full)
    [ninth] = set(sessions) - await begun()
    await client.cancel(ninth)
    assert (await client.end(ninth))["type"] == "job.cancelled"
    other = next(session for session in sessions if session != ninth)
    await client.cancel(other)
    assert (await client.end(other))["type"] == "job.cancelled"
