"""Redis goes away, stalls, fills up: a worker keeps its jobs and what they said, and goes on when it is back."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable

import orjson
import pytest
from holdfast.shared import keys
from holdfast.shared.errors import LogFull
from holdfast.shared.queue import QueueEntry
from holdfast.shared.redis.errors import RedisError
from holdfast.worker import Run
from holdfast.worker.process.outage import Outage

from tests.support.fault_proxy import FaultProxy
from tests.support.process import Processes, until
from tests.support.redis_server import RedisServer
from tests.support.workers import Client, worker_on

Server = Callable[..., RedisServer]


def words(count: int) -> str:
    return "".join(f"w{number} " for number in range(count))


@pytest.fixture
async def client_of() -> AsyncIterator[Callable[[RedisServer], Client]]:
    clients: list[Client] = []

    def make(server: RedisServer) -> Client:
        clients.append(Client(server.url))
        return clients[-1]

    yield make
    for client in clients:
        await client.close()


Clients = Callable[[RedisServer], Client]


async def test_jobs_outlive_a_redis_that_is_killed_and_comes_back(redis_server: Server, client_of: Clients) -> None:
    server = redis_server(aof=True, fsync="always")
    client = client_of(server)
    async with worker_on(server.url, lease_seconds=1), worker_on(server.url, lease_seconds=1):
        await client.offered("scripted")
        sessions = [f"s{number}" for number in range(10)]
        for session in sessions:
            await client.post(session, options={"tokens": 150, "interval_ms": 10})
        for session in sessions:
            await client.spoke(session, tokens=10)
        for _ in range(2):
            server.restart()
            client = client_of(server)
            await client.spoke(sessions[0], tokens=(await client.kinds(sessions[0])).count("text.delta") + 5)
        for session in sessions:
            assert (await client.end(session))["type"] == "job.completed"
            assert await client.said(session) == words(150)
            assert (await client.job(session)).attempt == 1
        await client.empty()


async def test_what_a_job_says_while_redis_is_away_is_in_the_log_once_it_is_back(redis_server: Server) -> None:
    queue_server, log_server = redis_server(), redis_server()
    client = Client(queue_server.url, log_server.url)
    async with (
        FaultProxy(log_server.port) as proxy,
        worker_on(queue_server.url, [in_step], log_redis_url=proxy.url),
    ):
        await client.offered("in_step")
        await client.post(agent="in_step")
        await client.spoke()
        proxy.refusing = True
        proxy.reset()
        before = proxy.connections
        Step.next.set()
        await until(lambda: proxy.connections > before)  # it was said, and refused
        proxy.refusing = False
        assert (await client.end())["type"] == "job.completed"
        assert await client.said() == "one two"
        assert (await client.job()).attempt == 1
    await client.close()


async def test_a_stall_much_longer_than_the_lease_takes_nothing_over(redis_server: Server, client_of: Clients) -> None:
    server = redis_server()
    client = client_of(server)
    async with worker_on(server.url, lease_seconds=0.5), worker_on(server.url, lease_seconds=0.5):
        await client.offered("scripted")
        sessions = [f"s{number}" for number in range(10)]
        for session in sessions:
            await client.post(session, options={"tokens": 250, "interval_ms": 20})
        for session in sessions:
            await client.spoke(session, tokens=3)
        server.stop()
        await asyncio.sleep(4)
        server.cont()
        client = client_of(server)
        for session in sessions:
            assert (await client.end(session))["type"] == "job.completed"
            assert await client.said(session) == words(250)
            assert (await client.job(session)).attempt == 1


async def test_a_full_redis_is_waited_for(
    redis_server: Server, client_of: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused, began = asyncio.Event(), Outage.began

    def noting(outage: Outage, error: RedisError | LogFull, asked_s: float) -> None:
        began(outage, error, asked_s)
        if isinstance(error, LogFull):
            refused.set()

    monkeypatch.setattr(Outage, "began", noting)
    server = redis_server()
    client = client_of(server)
    async with worker_on(server.url, [in_step]):
        await client.offered("in_step")
        await client.post(agent="in_step")
        await client.spoke()
        await client.redis.config_set("maxmemory", 1)
        Step.next.set()
        await refused.wait()
        assert await client.said() == "one "
        await client.redis.config_set("maxmemory", 0)
        assert (await client.end())["type"] == "job.completed"
        assert await client.said() == "one two"


class Step:
    next = asyncio.Event()


async def in_step(run: Run) -> None:
    if run.attempt == 1:
        Step.next = asyncio.Event()
    await run.text("one ")
    await run.flush()
    await Step.next.wait()
    await run.text("two")


async def test_a_worker_process_tells_an_outage_by_one_line_and_its_end_by_another(
    redis_server: Server, client_of: Clients, processes: Processes
) -> None:
    server = redis_server(aof=True)
    client = client_of(server)
    worker = processes.worker(server.url, HOLDFAST_LOG_FORMAT="json", HOLDFAST_LEASE_SECONDS="1")
    await client.offered("scripted")
    server.kill()
    await worker.until_output("redis is unavailable")
    await asyncio.sleep(2)
    server.start()
    await worker.until_output("redis is available again")
    client = client_of(server)
    await client.post(options={"tokens": 3})
    assert (await client.end())["type"] == "job.completed"
    lines = [orjson.loads(line) for line in worker.output().splitlines()]
    told = Counter((line["event"], line["server"]) for line in lines if line["event"].startswith("redis is"))
    assert {("redis is unavailable", "queue"), ("redis is available again", "queue")} <= set(told)
    assert set(told.values()) == {1}  # a call to the log may have met the outage, too
    assert worker.running


async def test_a_queue_that_lost_everything_is_mended_by_the_workers_that_hold_jobs(
    redis_server: Server,
) -> None:
    """The queue on a server of its own forgets all entries: running jobs get theirs anew and come to their end."""
    queue_server, log_server = redis_server(), redis_server()
    client = Client(queue_server.url, log_server.url)
    async with worker_on(queue_server.url, log_redis_url=log_server.url, lease_seconds=0.5):
        await client.offered("scripted")
        await client.post(options={"tokens": 100, "interval_ms": 20})
        await client.spoke()
        await client.redis.flushall()
        assert (await client.end())["type"] == "job.completed"
        assert await client.said() == words(100)
        await client.empty()
    await client.close()


async def test_a_silent_job_keeps_its_attempt_when_the_queue_server_loses_everything(redis_server: Server) -> None:
    queue_server, log_server = redis_server(), redis_server()
    client = Client(queue_server.url, log_server.url)
    async with worker_on(queue_server.url, [silent], log_redis_url=log_server.url, lease_seconds=0.5):
        await client.offered("silent")
        await client.post(agent="silent")
        await client.spoke()
        await client.redis.flushall()
        await until(lambda: _has_entries(client))
        await client.cancel()
        assert (await client.end())["type"] == "job.cancelled"
        assert await client.said() == "attempt 1"
    await client.close()


async def test_a_silent_job_is_stopped_once_another_worker_leases_its_queue_entry(redis_server: Server) -> None:
    """A job that emits events is fenced by the log; a silent one learns of it only from the queue."""
    server = redis_server()
    client = Client(server.url)
    async with worker_on(server.url, [silent], lease_seconds=0.5):
        await client.offered("silent")
        await client.post(agent="silent")
        await client.spoke()
        [worker_id] = await client.leases.workers()
        entry = QueueEntry("s", "j1", "silent", delivery=1, made_at=0)
        await client.redis.smove(keys.LEASED + worker_id, keys.LEASED + "another", entry.id)
        await client.until("s", "j1", lambda job: job.status == "queued")
        assert await client.queue.put_back("another", entry, delivery=1)
        assert (await client.end())["type"] == "job.completed"
        assert await client.said() == "attempt 2"
    await client.close()


async def _has_entries(client: Client) -> bool:
    return await client.queue.depth() > 0


async def silent(run: Run) -> None:
    await run.text(f"attempt {run.attempt}")
    if run.attempt == 1:
        await asyncio.Event().wait()


async def test_a_line_whose_head_the_queue_forgot_goes_on_with_the_next_job(redis_server: Server) -> None:
    """The queue forgets a job that no worker holds; whoever waits behind it sees that it has an entry again."""
    queue_server, log_server = redis_server(), redis_server()
    client = Client(queue_server.url, log_server.url)
    await client.offered_agents.offer({"scripted": {}})
    await client.post(job="one", options={"tokens": 1})
    await client.redis.flushall()
    async with worker_on(queue_server.url, log_redis_url=log_server.url):
        await client.offered("scripted")
        await client.post(job="two", options={"tokens": 1})
        assert (await client.end(job="one"))["type"] == "job.completed"
        assert (await client.end(job="two"))["type"] == "job.completed"
        await client.empty()
    await client.close()


async def test_two_servers_work_as_one_does(redis_server: Server) -> None:
    queue_server, log_server = redis_server(), redis_server()
    client = Client(queue_server.url, log_server.url)
    async with worker_on(queue_server.url, log_redis_url=log_server.url) as worker:
        await client.offered("scripted")
        for job in ("one", "two"):
            await client.post(job=job, options={"tokens": 3, "interval_ms": 0})
        assert (await client.end(job="two"))["type"] == "job.completed"
        await client.empty()
        await until(lambda: worker.free_slots == worker.max_jobs)
        assert not [key async for key in client.log_redis.scan_iter("holdfast:queue:*")]
        assert not [key async for key in client.redis.scan_iter("holdfast:{*")]
    await client.close()
