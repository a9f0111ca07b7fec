"""The queue server comes back empty, while the log server beside it knows all jobs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest
from holdfast.shared.ids import ORIGIN
from holdfast.shared.keys import AGENTS, AGENTS_SEEN, ENTRIES, READY, RECOVERY, RECOVERY_TURN, session_keys
from holdfast.shared.open_sessions import OpenSession, OpenSessions
from holdfast.shared.queue import JobRef, Queue
from holdfast.worker import Run
from holdfast.worker.process.outage import Outage
from holdfast.worker.process.recovery import Recovery
from structlog.testing import capture_logs

from tests.support.process import until
from tests.support.redis_server import RedisServer
from tests.support.scene import words
from tests.support.workers import Client, worker_on

LEASE_SECONDS = 1.0
RUNNING = [f"r{number}" for number in range(10)]
WAITING = [f"w{number}" for number in range(10)]


@pytest.fixture
def log_url(redis_server: Callable[[], RedisServer]) -> str:
    return redis_server().url


@pytest.fixture
async def client(redis_url: str, log_url: str) -> AsyncIterator[Client]:
    client = Client(redis_url, log_url)
    yield client
    await client.close()


async def lose_jobs(client: Client) -> None:
    """Empty the queue server, but for the agents on offer: each worker says again within 10 s which it has."""
    keys = [key async for key in client.redis.scan_iter() if key.decode() not in (AGENTS, AGENTS_SEEN)]
    await client.redis.delete(*keys)


async def has(client: Client, count: int) -> None:
    """Wait until the queue has entries for so many jobs."""

    async def look() -> bool:
        return await client.queue.depth() >= count

    await until(look, 30, lambda: f"{count} entries")


async def test_f70_jobs_run_on_and_waiting_ones_are_found_when_the_queue_is_emptied_three_times(
    redis_url: str, log_url: str, client: Client
) -> None:
    go = asyncio.Event()

    async def lasts(run: Run) -> None:
        await go.wait()
        await run.text(words(3))

    settings = {"log_redis_url": log_url, "lease_seconds": LEASE_SECONDS, "max_jobs": len(RUNNING) // 2}
    async with worker_on(redis_url, [lasts], **settings), worker_on(redis_url, [lasts], **settings):
        await client.offered("lasts")
        for session in RUNNING:
            await client.post(session, agent="lasts")
            await client.running(session)
            await client.post(session, "behind", agent="lasts")
        for session in WAITING:
            await client.post(session, agent="lasts")
        for _ in range(3):
            await lose_jobs(client)
            await has(client, len(RUNNING) + len(WAITING))
        go.set()
        for session, job in [(session, "j1") for session in RUNNING + WAITING] + [(each, "behind") for each in RUNNING]:
            assert (await client.end(session, job))["type"] == "job.completed"
            assert (await client.job(session, job)).attempt == 1
            assert await client.said(session, job) == words(3)
        await client.empty()


async def test_f70_a_job_whose_worker_died_with_the_queue_is_taken_over_after_a_lease(
    redis_url: str, log_url: str, client: Client
) -> None:
    await client.offered_agents.offer({"scripted": {}})
    await client.post(options={"tokens": 3, "interval_ms": 0})
    await client.log_writer.claim("s", "j1", delivery=1, claim_id="t", worker_id="dead", offered=True)
    await lose_jobs(client)
    async with worker_on(redis_url, log_redis_url=log_url, lease_seconds=LEASE_SECONDS):
        assert (await client.end())["type"] == "job.completed"
        assert (await client.job()).attempt == 2


async def test_the_lost_entry_of_a_running_job_is_left_to_its_worker_for_a_lease(
    redis_url: str, log_url: str, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.worker.process.recovery.PAGE_SECONDS", 0.05)  # it is found before the next heartbeat
    settings: dict[str, Any] = {"log_redis_url": log_url, "lease_seconds": 3.0}
    async with worker_on(redis_url, **settings), worker_on(redis_url, **settings):
        await client.offered("scripted")
        await client.post(options={"tokens": 1000, "interval_ms": 10})
        await client.running()
        for _ in range(3):
            await lose_jobs(client)
            await has(client, 1)
        assert (await client.end())["type"] == "job.completed"
        assert (await client.job()).attempt == 1


async def test_f70_a_deletion_that_the_queue_forgot_is_carried_out(
    redis_url: str, log_url: str, client: Client
) -> None:
    async with worker_on(redis_url, log_redis_url=log_url):
        await client.offered("scripted")
        await client.post(options={"tokens": 1})
        await client.end()
    await client.delete()
    await lose_jobs(client)
    async with worker_on(redis_url, log_redis_url=log_url):
        await until(lambda: _deleted(client))


async def _deleted(client: Client) -> bool:
    page = await client.log.read("s", ORIGIN)
    return page.entries[-1].kind == "session.deleted"


async def test_after_the_first_round_a_page_is_searched_once_a_second_whatever_the_number_of_workers(
    redis_url: str, log_url: str, client: Client
) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(4):
            await stack.enter_async_context(worker_on(redis_url, log_redis_url=log_url))
        await until(lambda: _searched(client))
        begun, before = (await client.log_redis.time())[0], await _scans(client)
        await until(lambda: _scanned(client, before + 6))
        assert (await client.log_redis.time())[0] - begun >= 4  # six pages, at least a second apart, in whole seconds


async def _scans(client: Client) -> int:
    return int((await client.log_redis.info("commandstats"))["cmdstat_scan"]["calls"])


async def _scanned(client: Client, count: int) -> bool:
    return await _scans(client) >= count


async def test_an_entry_that_the_queue_lost_is_made_anew_by_a_later_round(
    redis_url: str, log_url: str, client: Client
) -> None:
    async def holds(run: Run) -> None:
        await asyncio.Event().wait()

    async with worker_on(redis_url, [holds], log_redis_url=log_url, max_jobs=1):
        await client.offered("holds")
        await client.post("busy", agent="holds")
        await client.running("busy")
        await until(lambda: _searched(client))
        await client.post(options={"tokens": 1})
        await client.redis.hdel(ENTRIES, "s/j1")
        await client.redis.delete(READY + "scripted")
        await client.cancel("busy")
        assert (await client.end())["type"] == "job.completed"


@pytest.fixture
def recovery(client: Client) -> Recovery:
    """The search of a worker that does nothing else."""
    return Recovery(client.queue, OpenSessions(client.logs), Outage("queue"), Outage("log"), LEASE_SECONDS)


async def test_the_entry_of_a_job_that_ends_during_the_search_is_not_lost(
    client: Client, recovery: Recovery, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = Queue.lost

    async def late(queue: Queue, entries: Sequence[JobRef]) -> list[JobRef]:
        await client.sessions.cancel("s", "j1", "user")
        await client.queue.retire("s", (await client.log_writer.settle("s")).ended)
        return await lost(queue, entries)

    monkeypatch.setattr(Queue, "lost", late)
    await client.offered_agents.offer({"scripted": {}})
    await client.post()
    with capture_logs() as lines:
        await recovery._step()
    assert await client.queue.depth() == 0
    assert lines == []


async def test_foreign_keys_and_values_hide_no_lost_entry_of_their_page(client: Client, recovery: Recovery) -> None:
    await client.offered_agents.offer({"scripted": {}})
    for session in ("lost", "north/a%2Fb/lost", "line", "record"):
        await client.post(session)
    await client.log_redis.lset(session_keys("line").backlog, 0, b"\xff\xfe")
    await client.log_redis.hset(session_keys("record").jobs, "j1:agent", b"\xff\xfe")
    for name in (b"\xff\xfe", b"a/b", b"a b//s", b"a//", b"a/b/c/s", b""):
        await client.log_redis.hset(b"holdfast:{%s}:state" % name, "deleted", "1")
    await lose_jobs(client)
    with capture_logs() as lines:
        for _ in range(2):
            await client.redis.delete(RECOVERY_TURN)
            await recovery._step()
    assert {*await client.redis.hkeys(ENTRIES)} == {b"lost/j1", b"north/a%2Fb/lost/j1"}
    assert await client.redis.hget(RECOVERY, "rounds") == b"2"
    assert [line["event"] for line in lines].count("key is not that of a session; skipped") == 1


async def test_a_page_that_cannot_be_searched_stops_no_other(
    client: Client, recovery: Recovery, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(sessions: OpenSessions, session_ids: Sequence[str]) -> list[OpenSession]:
        raise ValueError("foreign")

    monkeypatch.setattr(OpenSessions, "open", fails)
    with capture_logs() as lines:
        await recovery._step()
    assert await client.redis.hget(RECOVERY, "rounds") == b"1"
    assert [line["log_level"] for line in lines] == ["error"]


async def _searched(client: Client) -> bool:
    return bool(await client.redis.exists(RECOVERY))
