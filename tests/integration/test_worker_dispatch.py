"""Which worker takes what, and when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from holdfast.shared.leases import Leases
from holdfast.shared.queue import WakeUp
from holdfast.worker import Run
from holdfast.worker.process.arq_worker import HoldfastWorker
from holdfast.worker.process.presence import Presence

from tests.support.process import until
from tests.support.workers import Client, worker_on

SHORT = {"tokens": 1, "interval_ms": 0}


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    client = Client(redis_url)
    yield client
    await client.close()


async def hold(run: Run) -> None:
    await asyncio.Event().wait()


async def test_a_waiting_job_starts_at_once_on_the_idle_worker_however_many_run(
    redis_url: str, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.worker.process.arq_worker.POLL_SECONDS", 3600)  # only the wake-up starts a job
    async with AsyncExitStack() as stack:
        busy = [await stack.enter_async_context(worker_on(redis_url, [hold], max_jobs=10)) for _ in range(10)]
        await client.offered("hold")
        for number in range(100):
            await client.post(f"busy{number}", agent="hold")
        await until(lambda: all(worker.free_slots == 0 for worker in busy))
        idle = await stack.enter_async_context(worker_on(redis_url, [hold], max_jobs=100))
        await until(lambda: not any(worker.listens_idle for worker in busy))
        await until(lambda: _blocked(client, 11))
        for number in range(20):  # one after the other: each needs a wake-up of its own
            await client.post(f"waiting{number}", options=SHORT)
            await client.end(f"waiting{number}")
            assert (await client.job(f"waiting{number}")).worker == idle.id
        assert all(worker.free_slots == 0 for worker in busy)


async def test_a_worker_without_a_free_slot_hears_no_wake_up(
    redis_url: str, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Full workers would hand one wake-up round among themselves, as fast as they can, for as long as all are full."""
    monkeypatch.setattr("holdfast.worker.process.arq_worker.POLL_SECONDS", 3600)
    async with worker_on(redis_url, [hold], max_jobs=1) as full:
        await client.offered("hold")
        await client.post("busy", agent="hold")
        await until(lambda: full.free_slots == 0 and not full.listens_idle)
        await until(lambda: _blocked(client, 1))
        wake_ups = _wake_ups(full, monkeypatch)
        await client.post("waiting", options=SHORT)
        async with worker_on(redis_url):
            await client.end("waiting")
        assert wake_ups == []


def _wake_ups(worker: HoldfastWorker, monkeypatch: pytest.MonkeyPatch) -> list[WakeUp | None]:
    """What the worker hears from now on."""
    wake_ups: list[WakeUp | None] = []
    heard = worker._on_wake_up

    async def noted(wake_up: WakeUp | None) -> None:
        wake_ups.append(wake_up)
        await heard(wake_up)

    monkeypatch.setattr(worker, "_on_wake_up", noted)
    return wake_ups


async def test_a_slot_that_becomes_free_takes_what_waits(redis_url: str, client: Client) -> None:
    async with worker_on(redis_url, max_jobs=2) as worker:
        await client.offered("scripted")
        for number in range(30):
            await client.post(f"s{number}", options={"tokens": 2, "interval_ms": 1})
        most = 0
        for number in range(30):
            most = max(most, 2 - worker.free_slots)
            await client.end(f"s{number}")
        assert most <= 2
        await client.empty()


async def test_a_worker_takes_only_jobs_of_agents_that_it_offers(redis_url: str, client: Client) -> None:
    async with worker_on(redis_url):
        await client.offered_agents.offer({"hold": {}})
        await client.offered("scripted")
        await client.post("other", agent="hold")
        await client.post("own", options=SHORT)
        assert (await client.end("own"))["type"] == "job.completed"
        assert (await client.job("other")).status == "queued"
        async with worker_on(redis_url, [hold]) as second:
            await client.running("other")
            assert (await client.job("other")).worker == second.id


async def test_a_job_that_waits_too_long_for_its_agent_is_ended_by_any_worker(redis_url: str, client: Client) -> None:
    await client.offered_agents.offer({"hold": {}})
    await client.post(agent="hold")
    async with worker_on(redis_url, queue_seconds=1, lease_seconds=0.5):
        assert (await client.end())["error"]["code"] == "expired"
        await client.empty()


async def test_many_sessions_at_once_on_several_workers_all_end_once(redis_url: str, client: Client) -> None:
    async with AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(worker_on(redis_url, max_jobs=20)) for _ in range(3)]
        await client.offered("scripted")
        sessions = [f"s{number}" for number in range(120)]
        await asyncio.gather(*(client.post(session, options={"tokens": 5, "interval_ms": 2}) for session in sessions))
        for session in sessions:
            await client.end(session)
            kinds = await client.kinds(session)
            assert kinds == ["job.started", *["text.delta"] * 5, "job.completed"]
        took = {(await client.job(session)).worker for session in sessions}
        assert took == {worker.id for worker in workers}
        await client.empty()


async def test_a_worker_stops_cleanly_with_nothing_to_do(redis_url: str, client: Client) -> None:
    async with worker_on(redis_url) as worker:
        await client.offered("scripted")
        await until(lambda: _counted(client, worker.id))
    assert await client.leases.workers() == {}


async def test_a_worker_that_stops_is_registered_until_it_has_released_its_jobs(
    redis_url: str, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others would take over the jobs of a worker whose connection is closed, and count a strike for each."""
    steps: list[str] = []
    leave, close = Leases.leave, Presence.close

    async def left(leases: Leases, worker_id: str) -> None:
        await leave(leases, worker_id)
        steps.append("released")

    def closed(presence: Presence) -> None:
        close(presence)
        steps.append("closed")

    monkeypatch.setattr(Leases, "leave", left)
    monkeypatch.setattr(Presence, "close", closed)
    async with worker_on(redis_url, [hold]):
        await client.offered("hold")
        await client.post(agent="hold")
        await client.running()
    assert steps[:2] == ["released", "closed"]


async def _counted(client: Client, worker_id: str) -> bool:
    return worker_id in await client.leases.workers()


async def _blocked(client: Client, count: int) -> bool:
    """Whether so many connections wait for something, and no more."""
    return bool((await client.redis.info("clients"))["blocked_clients"] == count)
