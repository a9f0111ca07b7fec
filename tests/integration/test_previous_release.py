"""What the previous release has left in Redis, jobs in flight included, is read and continued by this one.

`tests/data/release-a866859.json` is what its processes left when they were killed, see tests.support.golden_release."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from holdfast.shared import keys

from tests.support.fault_agents import climbed
from tests.support.golden import restore
from tests.support.golden_release import PLACES, STEPS, STREAMED
from tests.support.history import History, final_log
from tests.support.process import Process, Processes, until
from tests.support.served import Served, served
from tests.support.steps import StepCounts, texts_of
from tests.support.watcher import Watcher, dismiss
from tests.support.workers import Client

GOLDEN = Path(__file__).resolve().parents[1] / "data" / "release-a866859.json"


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    client = Client(redis_url)
    await restore(client.redis, json.loads(GOLDEN.read_text("utf-8")))
    yield client
    await client.close()


@pytest.fixture
async def gateway(client: Client, redis_url: str) -> AsyncIterator[Served]:
    async with served(redis_url) as gateway:
        yield gateway


def worker(processes: Processes, redis_url: str) -> Process:
    env = {"HOLDFAST_LEASE_SECONDS": "0.5", "HOLDFAST_AGENTS": "tests.support.fault_agents"}
    return processes.worker(redis_url, **env)


async def job_ids(gateway: Served, session: str) -> list[str]:
    """The jobs of a session in the order of their submission."""
    jobs = (await gateway.client.get(f"/v1/sessions/{session}/jobs")).json()["jobs"]
    return [job["job_id"] for job in sorted(jobs, key=lambda job: str(job["created_at"]))]


async def resumed_watchers(gateway: Served, client: Client, history: History) -> list[Watcher]:
    """Viewers that resume in the middle of what the previous release has sent them."""
    watchers = []
    for session in ("streams", "steps", "asked"):
        entries = await client.entries(session)
        transcript = history.client(session, f"viewer of {session}", start=entries[len(entries) // 2].id)
        path = f"/v1/sessions/{session}/events?raw=true"
        watchers.append(Watcher([gateway.url], path, transcript, seed=1, stay_s=0.5))
    return watchers


async def test_sessions_without_an_owner_are_listed_and_read_without_authentication(gateway: Served) -> None:
    listed = (await gateway.client.get("/v1/sessions")).json()["sessions"]
    assert {session["session_id"] for session in listed} == set(PLACES)
    jobs = (await gateway.client.get("/v1/sessions/done/jobs")).json()["jobs"]
    assert sorted(job["status"] for job in jobs) == ["completed", "failed"]
    messages = (await gateway.client.get("/v1/sessions/done/messages")).json()["messages"]
    assert [message["content"] for message in messages if message["role"] == "user"] == ["hi", "again"]


async def test_a_submission_repeated_after_the_upgrade_returns_the_job_of_the_first(gateway: Served) -> None:
    job, path = PLACES["streams"][0], "/v1/sessions/streams/jobs"
    answer = await gateway.client.post(path, json=job, headers={"Idempotency-Key": "k0"})
    known = (await gateway.client.get(path)).json()["jobs"]
    assert answer.json()["job_id"] in {job["job_id"] for job in known}
    assert len(known) == len(PLACES["streams"])


async def test_jobs_in_flight_end_and_their_viewers_resume_without_loss(
    gateway: Served, client: Client, processes: Processes, redis_url: str
) -> None:
    history = History()
    watchers = await resumed_watchers(gateway, client, history)
    tasks = [asyncio.create_task(watcher.watch()) for watcher in watchers]
    worker(processes, redis_url)
    answer = await gateway.client.post(
        f"/v1/sessions/asked/jobs/{(await job_ids(gateway, 'asked'))[0]}/answer", json={"value": "Rome"}
    )
    assert answer.status_code == 202
    await client.empty()

    logs = {session: await final_log(client.log, session) for session in PLACES}
    await until(lambda: all(w.transcript.cursor == logs[w.transcript.session_id][-1].id for w in watchers))
    await dismiss(tasks)
    assert history.violations(logs) + history.incomplete(logs) == []
    assert [watcher.transcript.gaps() for watcher in watchers] == [[]] * len(watchers)
    texts = {session: texts_of(await client.entries(session)) for session in PLACES}
    spoken = {None: "".join(f"w{number} " for number in range(STREAMED))}
    assert list(texts["streams"].values()) == [spoken, {None: "w0 w1 "}]
    assert list(texts["steps"].values()) == [climbed(STEPS)]
    assert list(texts["asked"].values()) == [{None: "w0 w1 w2 "}]


async def test_a_takeover_resumes_behind_the_steps_that_the_previous_release_has_recorded(
    client: Client, processes: Processes, redis_url: str
) -> None:
    worker(processes, redis_url)
    entries = await client.entries("steps")
    job = entries[0].job_id
    assert (await client.end("steps", job))["type"] == "job.completed"
    counts = StepCounts()
    counts.count(await client.entries("steps"))
    assert (counts.resumed, counts.began_again, counts.diverged) == (1, 0, 0)


async def test_the_conversation_continues(
    gateway: Served, client: Client, processes: Processes, redis_url: str
) -> None:
    worker(processes, redis_url)
    await client.offered("scripted")
    job = {"agent": "scripted", "input": "more", "options": {"tokens": 1, "interval_ms": 0}}
    answer = (await gateway.client.post("/v1/sessions/done/jobs", json=job)).json()
    assert (await client.end("done", answer["job_id"]))["type"] == "job.completed"
    messages = (await gateway.client.get("/v1/sessions/done/messages")).json()["messages"]
    assert [m["content"] for m in messages if m["role"] == "user"] == ["hi", "again", "more"]


async def test_no_lease_of_a_worker_of_the_previous_release_is_left(
    client: Client, processes: Processes, redis_url: str
) -> None:
    [dead] = await client.leases.workers()
    worker(processes, redis_url)

    async def gone() -> bool:
        return dead not in await client.leases.workers() and not await client.redis.exists(keys.LEASED + dead)

    await until(gone)
