"""A worker whose process is gone is found dead by its connection, long before its lease; any other one is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from holdfast.shared.keys import LEASED
from holdfast.shared.redis.client import Redis

from tests.support.fault_proxy import FaultProxy, port_of
from tests.support.process import Process, Processes, until
from tests.support.redis_server import RedisServer
from tests.support.scene import words
from tests.support.workers import Client, worker_on

# A test that waits for a lease fails by its time limit.
LONG = {"HOLDFAST_LEASE_SECONDS": "600", "HOLDFAST_LOG_FORMAT": "json"}
TOKENS = {"tokens": 60, "interval_ms": 20}
FOUND_DEAD = "this worker was found dead"
Start = Callable[..., Process]


@pytest.fixture
def start(processes: Processes, redis_url: str) -> Start:
    return lambda url=redis_url, **env: processes.worker(url, **(LONG | env))


async def running_on(client: Client, worker: Process, session: str, **options: int | bool) -> str:
    """Queue a job, which the only worker takes. Returns the id of the worker."""
    await worker.until_output("worker started")
    await client.offered("scripted")
    await client.post(session, options=TOKENS | options)
    await client.spoke(session)
    return (await client.job(session)).worker or ""


async def strikes(client: Client, session: str = "s") -> int:
    return int(await client.log_redis.hget(f"holdfast:{{{session}}}:jobs", "j1:strikes"))


@pytest.mark.parametrize("death", ["SIGKILL", "of its own accord"])
async def test_a_dead_worker_is_found_without_waiting_for_its_lease(client: Client, start: Start, death: str) -> None:
    first = start()
    await running_on(client, first, "s", tokens=60, **({} if death == "SIGKILL" else {"crash_at": 10}))
    second = start()
    if death == "SIGKILL":
        await second.until_output("worker started")
        first.kill()
    assert (await client.end())["type"] == "job.completed"
    assert (await client.job()).attempt == 2
    assert await strikes(client) == 1
    await client.empty()


async def test_a_frozen_worker_keeps_its_jobs_while_a_dead_one_beside_it_loses_them(
    client: Client, start: Start
) -> None:
    frozen = start()
    frozen_id = await running_on(client, frozen, "frozen", tokens=100_000)
    frozen.stop()
    for number in range(2):  # each death is found by a later look than the one before
        dead = start()
        await running_on(client, dead, f"s{number}", tokens=100_000)
        heir = start(HOLDFAST_MAX_JOBS="1")
        await heir.until_output("worker started")
        dead.kill()
        await client.until(f"s{number}", "j1", lambda state: state.attempt == 2)
        await client.cancel(f"s{number}")
        await client.end(f"s{number}")
        heir.kill()
    assert (await client.job("frozen")).attempt == 1
    assert await client.redis.smembers(LEASED + frozen_id) == {b"frozen/j1"}


async def test_a_worker_that_loses_its_connections_again_and_again_loses_no_job(
    redis_url: str, client: Client, start: Start
) -> None:
    async with FaultProxy(port_of(redis_url)) as proxy, worker_on(redis_url, lease_seconds=600):
        await client.offered("scripted")
        far = start(proxy.url)
        await far.until_output("worker started")
        sessions = [f"s{number}" for number in range(8)]
        for session in sessions:
            await client.post(session, options={"tokens": 150, "interval_ms": 20})
        for tokens in (10, 50, 90):
            for session in sessions:
                await client.spoke(session, tokens=tokens)
            proxy.reset()
            await client.redis.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        for session in sessions:
            assert (await client.end(session))["type"] == "job.completed"
            assert await client.said(session) == words(150)
            assert await strikes(client, session) == 0
        await client.empty()


async def test_a_restart_of_redis_makes_nobody_dead(
    redis_server: Callable[..., RedisServer], admin_of: Callable[[str], Redis], start: Start
) -> None:
    server = redis_server(aof=True, fsync="always")
    client = Client(server.url)
    living, dead = start(server.url), None
    await running_on(client, living, "s", tokens=100_000)
    server.kill()
    server.start()
    dead = start(server.url, HOLDFAST_MAX_JOBS="1")
    await dead.until_output("worker started")
    await until(lambda: living.output().count("redis is available again") > 0)
    await client.close()
    client = Client(server.url)
    living_id = (await client.job()).worker
    dead.kill()  # its death is found by a look at the connections of the server's new run

    async def alone() -> bool:
        return list(await client.leases.workers()) == [living_id]

    await until(alone)
    assert (await client.job()).attempt == 1
    assert FOUND_DEAD not in living.output()
    await client.close()


async def test_where_redis_does_not_tell_who_is_connected_the_lease_decides_and_a_log_line_says_so_once(
    redis_url: str, client: Client, start: Start
) -> None:
    await client.redis.call("ACL", "SETUSER", "limited", "on", ">secret", "~*", "+@all", "-client|list")
    limited = redis_url.replace("redis://", "redis://limited:secret@")
    first = start(limited, HOLDFAST_LEASE_SECONDS="4")
    await running_on(client, first, "s", tokens=150)
    second = start(limited, HOLDFAST_LEASE_SECONDS="4")
    await until(lambda: any("by their lease only" in worker.output() for worker in (first, second)))
    first.kill()
    assert (await client.end())["type"] == "job.completed"
    assert (await client.job()).attempt == 2
    assert '"sign": "heartbeat"' in second.output()
    assert second.output().count("by their lease only") <= 1
    await client.redis.call("ACL", "DELUSER", "limited")


async def test_a_worker_that_was_away_for_too_long_loses_its_job_but_the_job_gets_no_strike_and_it_is_counted(
    redis_url: str, client: Client, start: Start
) -> None:
    async with FaultProxy(port_of(redis_url)) as proxy:
        away = start(proxy.url)
        await running_on(client, away, "s", tokens=150)
        async with worker_on(redis_url, lease_seconds=600):
            proxy.refusing = True
            proxy.reset()
            await client.until("s", "j1", lambda state: state.attempt == 2)
            assert await strikes(client) == 1
            proxy.refusing = False
            await until(lambda: FOUND_DEAD in away.output())
            await until(lambda: _forgiven(client))
            assert (await client.end())["type"] == "job.completed"
            assert await client.said() == words(150)
            await client.empty()


async def _forgiven(client: Client) -> bool:
    return await strikes(client) == 0


async def test_a_job_does_not_end_as_poisoned_on_a_guess(redis_url: str, client: Client) -> None:
    """One attempt is allowed, and its worker, which lives, is found dead: the attempt goes on."""
    async with worker_on(redis_url, lease_seconds=3, max_attempts=1) as first:
        await client.offered("scripted")
        await client.post(options={"tokens": 200, "interval_ms": 30})
        await client.spoke()
        async with worker_on(redis_url, lease_seconds=600, max_attempts=1):
            counts = await client.leases.workers()
            assert await client.leases.take_over(first.id, counts[first.id], guess_s=600) == 1
            assert (await client.end())["type"] == "job.completed"
            assert await client.said() == words(200)
            await client.empty()


async def test_a_job_ends_as_poisoned_once_the_lease_has_passed(client: Client, start: Start) -> None:
    first = start(HOLDFAST_MAX_ATTEMPTS="1", HOLDFAST_LEASE_SECONDS="3")
    await running_on(client, first, "s", tokens=100_000)
    start(HOLDFAST_MAX_ATTEMPTS="1", HOLDFAST_LEASE_SECONDS="3")
    first.kill()
    assert (await client.end())["error"]["code"] == "poisoned"
    await client.empty()
