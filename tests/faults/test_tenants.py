"""Several tenants on real workers: floods, limits, and what remains of their counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from holdfast.shared import keys
from holdfast.worker import Run

from tests.support.process import Processes, until
from tests.support.redis_server import RedisServer
from tests.support.workers import Client, worker_on

COUNTS = keys.TENANT + "counts"


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    client = Client(redis_url)
    yield client
    await client.close()


async def hold(run: Run) -> None:
    await asyncio.Event().wait()


async def ask(run: Run) -> None:
    await run.ask("Go on?")
    await asyncio.Event().wait()


async def counts(client: Client) -> dict[str, int]:
    stored = await client.redis.hgetall(COUNTS)
    return {name.decode(): int(number) for name, number in stored.items() if b":" in name}


async def counted(client: Client, **expected: int) -> None:
    """Wait until the tenants `t` and `u` have these counts: `open_t=1`."""

    async def look() -> bool:
        return await counts(client) == {name.replace("_", ":"): number for name, number in expected.items()}

    await until(look, 30, lambda: f"{expected}")


async def test_a_flood_of_a_thousand_jobs_delays_another_tenant_by_one_slot_at_most(
    redis_url: str, client: Client
) -> None:
    started: list[str] = []
    slot = asyncio.Semaphore(0)

    async def gated(run: Run) -> None:
        started.append(run.session_id)
        await slot.acquire()

    async with worker_on(redis_url, [gated], max_jobs=5), worker_on(redis_url, [gated], max_jobs=5):
        await client.offered("gated")
        for first in range(0, 1000, 100):
            posts = (client.post(f"flood//s{number}", agent="gated") for number in range(first, first + 100))
            await asyncio.gather(*posts)
        await until(lambda: len(started) == 10)
        await client.post("calm//s", agent="gated")
        slot.release()
        await until(lambda: len(started) == 11)
        assert started[10] == "calm//s"


async def test_a_job_at_the_limit_of_its_tenant_starts_when_another_ends_on_a_worker_elsewhere(
    redis_url: str, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.worker.process.arq_worker.POLL_SECONDS", 3600)  # only the wake-up starts a job
    ends = asyncio.Event()

    async def gated(run: Run) -> None:
        await ends.wait()

    async with worker_on(redis_url, [gated, hold], tenant_max_running=1) as stops:
        await client.offered("gated")
        await client.post("t//s1", agent="gated")
        await client.running("t//s1")
        stops.stop()
        async with worker_on(redis_url, [gated, hold], tenant_max_running=1):
            await client.post("t//s2", agent="gated")
            await client.post("u//s", agent="hold")
            await client.running("u//s")
            assert (await client.job("t//s2")).status == "queued"
            ends.set()
            await client.end("t//s2")


async def test_a_job_that_waits_for_a_person_counts_as_running_again_when_it_goes_on(
    redis_url: str, client: Client
) -> None:
    async with worker_on(redis_url, [ask, hold], tenant_max_running=1, max_jobs=2):
        await client.offered("ask")
        await client.post("t//asks", agent="ask")
        await counted(client, open_t=1)
        await client.post("t//s", agent="hold")
        await client.running("t//s")
        await counted(client, open_t=2, running_t=1)
        await client.cancel("t//s")
        await counted(client, open_t=1)
        answered = await client.sessions.answer("t//asks", "j1", None, b'"yes"')
        assert answered.lease_owner is not None
        await client.queue.notify(answered.lease_owner, "t//asks")
        await counted(client, open_t=1, running_t=1)


async def test_an_emptied_queue_counts_again_what_runs_waits_and_is_queued(
    redis_url: str, redis_server: Callable[[], RedisServer]
) -> None:
    log_url = redis_server().url
    client = Client(redis_url, log_url)
    async with worker_on(redis_url, [ask, hold], log_redis_url=log_url, lease_seconds=1, max_jobs=1):
        await client.offered("ask", "hold")
        await client.post("t//asks", agent="ask")
        await counted(client, open_t=1)
        for session in ("t//s1", "t//s2", "u//s"):
            await client.post(session, agent="hold")
        await counted(client, open_t=3, open_u=1, running_t=1)
        stored = [key async for key in client.redis.scan_iter()]
        await client.redis.delete(*(key for key in stored if key.decode() not in (keys.AGENTS, keys.AGENTS_SEEN)))

        # The worker keeps its run if it hears of the loss before its lease ends. Else any of the three can be next.
        async def counted_again() -> bool:
            return await counts(client) in (
                {"open:t": 3, "open:u": 1, "running:t": 1},
                {"open:t": 3, "open:u": 1, "running:u": 1},
            )

        await until(counted_again, 30, lambda: "the counts of the emptied queue")
    await client.close()


async def test_no_count_remains_after_a_kill_a_takeover_cancellations_and_a_deletion(
    redis_url: str, client: Client, processes: Processes
) -> None:
    long = {"tokens": 1000, "interval_ms": 20}
    sessions = [f"{tenant}//s{number}" for tenant in "tu" for number in range(3)]
    settings = {"HOLDFAST_LEASE_SECONDS": "1", "HOLDFAST_MAX_JOBS": "4", "HOLDFAST_TENANT_MAX_RUNNING": "2"}
    killed = processes.worker(redis_url, **settings)
    await client.offered("scripted")
    for session in sessions:
        await client.post(session, options=long)
        await client.post(session, "behind", options=long)
    await counted(client, open_t=6, open_u=6, running_t=2, running_u=2)
    for session in ("t//s0", "u//s0"):
        await client.running(session)
    killed.kill()
    processes.worker(redis_url, **settings)
    for session in ("t//s0", "u//s0"):
        await client.until(session, "j1", lambda state: state.attempt == 2)
    await counted(client, open_t=6, open_u=6, running_t=2, running_u=2)
    for session in sessions[1:]:
        await client.cancel(session, "behind")
        await client.cancel(session, "j1")
    await client.delete(sessions[0])
    await client.empty()
    assert await counts(client) == {}
    left = {key.decode() async for key in client.redis.scan_iter(match=keys.TENANT + "*")}
    assert left <= {COUNTS}
