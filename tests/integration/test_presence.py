"""A worker's registered connection, and what the others see of it, on a real server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from typing import Any

import pytest
from holdfast.shared.keys import CONNECTIONS, CONNECTIONS_TURN
from holdfast.shared.redis.client import connect
from holdfast.shared.redis.connection import RedisConnection
from holdfast.shared.redis.errors import ConnectionLost
from holdfast.worker.process.presence import CHECK_SECONDS, Observation, Presence
from structlog.testing import capture_logs

from tests.support.redis_server import RedisServer
from tests.support.workers import Client

Start = Callable[..., Presence]


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    client = Client(redis_url)
    yield client
    await client.close()


@pytest.fixture
async def presence(redis_url: str) -> AsyncIterator[Start]:
    """`presence("w")`: that of a worker, which is closed at the end."""
    async with AsyncExitStack() as stack:

        def start(worker_id: str, url: str = redis_url) -> Presence:
            started = Presence(url, worker_id, deadline_s=10)
            stack.callback(started.close)
            return started

        yield start
    await asyncio.sleep(0.01)  # the event loop closes an aborted connection in one of its next steps


async def check(client: Client, presence: Presence) -> Observation:
    """Observe, and check which connections are open."""
    await client.redis.delete(CONNECTIONS_TURN)
    return await presence.observe()


async def kill(client: Client, worker_id: str) -> None:
    """Let the server close the connection that a worker registered."""
    registered = await client.redis.hget(CONNECTIONS, worker_id)
    await client.redis.call("CLIENT", "KILL", "ID", registered.split()[1])


async def test_a_closed_connection_is_seen_by_another_worker(client: Client, presence: Start) -> None:
    one, other = presence("one"), presence("other")
    await one.observe()
    seen = await check(client, other)
    assert seen.closed == {}
    await kill(client, "one")
    assert (await check(client, other)).closed == {"one": seen.counts["one"]}


async def test_a_worker_that_lost_its_connection_registers_the_next_one_first_and_that_is_a_heartbeat(
    client: Client, presence: Start
) -> None:
    one, other = presence("one"), presence("other")
    assert (await one.observe()).first
    seen = await one.observe()
    assert not seen.first
    before = await client.redis.hget(CONNECTIONS, "one")
    await kill(client, "one")
    assert (await over_the_next_connection(one)).counts["one"] == seen.counts["one"] + 1
    assert await client.redis.hget(CONNECTIONS, "one") != before
    assert (await check(client, other)).closed == {}


async def over_the_next_connection(presence: Presence) -> Observation:
    while True:
        with suppress(ConnectionLost):  # the server's end of the connection is noticed by the next command
            seen = await presence.observe()
            if seen.first:
                return seen


async def test_connections_to_another_run_of_the_server_say_nothing(client: Client, presence: Start) -> None:
    observer = presence("observer")
    await observer.observe()
    run_id, _ = (await client.redis.hget(CONNECTIONS, "observer")).split()
    await client.redis.hset("holdfast:queue:workers", mapping={"here": 3, "elsewhere": 3})
    await client.redis.hset(CONNECTIONS, mapping={"here": run_id + b" 999999", "elsewhere": b"0" * 40 + b" 999999"})
    assert (await check(client, observer)).closed == {"here": 3}


async def test_all_workers_together_check_about_once_a_second(client: Client, presence: Start) -> None:
    workers = [presence(f"w{number}") for number in range(5)]
    before, began_s = await checks(client), time.monotonic()
    while await checks(client) < before + 2:
        await asyncio.gather(*(worker.observe() for worker in workers))
    passed_s = time.monotonic() - began_s
    assert await checks(client) - before <= 1 + passed_s / CHECK_SECONDS


async def checks(client: Client) -> int:
    stats = await client.redis.info("commandstats")
    return int(stats.get("cmdstat_client|list", {"calls": 0})["calls"])


@pytest.mark.parametrize("refused", ["-client|list", "-client|id"])
async def test_where_the_server_refuses_to_tell_nobody_is_seen_closed_and_the_reason_is_logged_once(
    redis_server: Callable[..., RedisServer], presence: Start, refused: str
) -> None:
    server = redis_server()
    client = Client(server.url)
    await client.redis.call("ACL", "SETUSER", "limited", "on", ">secret", "~*", "+@all", refused)
    url = server.url.replace("redis://", "redis://limited:secret@")
    one, other = presence("one", server.url), presence("other", url)
    await one.observe()
    with capture_logs() as lines:
        await check(client, other)
        await kill(client, "one")
        for _ in range(3):
            seen = await check(client, other)
            assert seen.closed == {}
            assert "one" in seen.counts
    assert [line["event"] for line in lines] == ["dead workers are found by their lease only"]
    assert "no permissions" in lines[0]["reason"]
    assert await client.redis.hkeys(CONNECTIONS) == [b"one"]
    await client.close()


async def test_ids_that_a_proxy_made_up_say_nothing(
    client: Client, presence: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = presence("one"), presence("other")
    await one.observe()
    execute_all = RedisConnection.execute_all

    async def made_up(self: RedisConnection, commands: Any) -> Any:
        return [10**9, (await execute_all(self, commands))[1]]

    monkeypatch.setattr(RedisConnection, "execute_all", made_up)
    await kill(client, "one")
    with capture_logs() as lines:
        assert (await check(client, other)).closed == {}
        assert (await check(client, other)).closed == {}
    assert [line["event"] for line in lines] == ["dead workers are found by their lease only"]


async def test_a_worker_that_is_found_dead_while_its_connection_stays_open_registers_none_any_more(
    client: Client, presence: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that shares connections names one of its own, and closes it while the worker's stays open."""
    shared = connect(client.queue_url, max_connections=1)
    execute_all = RedisConnection.execute_all

    async def of_proxy(self: RedisConnection, commands: Any) -> Any:
        return [await shared.call("CLIENT", "ID"), (await execute_all(self, commands))[1]]

    one, other = presence("one"), presence("other")
    await other.observe()
    monkeypatch.setattr(RedisConnection, "execute_all", of_proxy)
    await client.redis.set(CONNECTIONS_TURN, "1")  # the turn of another worker
    await one.observe()
    await kill(client, "one")
    count = (await check(client, other)).closed["one"]
    assert await client.leases.take_over("one", count, guess_s=60) == 0
    with capture_logs() as lines:
        assert (await one.observe()).mistaken
        for _ in range(2):
            assert not (await one.observe()).mistaken
            assert (await check(client, other)).closed == {}
            assert await client.redis.hkeys(CONNECTIONS) == [b"other"]
            await client.redis.set(CONNECTIONS_TURN, "1")
            one.close()
            await over_the_next_connection(one)
    assert [line["event"] for line in lines] == ["dead workers are found by their lease only"]
    await shared.aclose()


async def test_a_worker_that_is_found_dead_while_its_connection_is_closed_registers_the_next_one(
    client: Client, presence: Start
) -> None:
    one, other = presence("one"), presence("other")
    await one.observe()
    for _ in range(2):
        await kill(client, "one")
        count = (await check(client, other)).closed["one"]
        assert await client.leases.take_over("one", count, guess_s=60) == 0
        assert (await over_the_next_connection(one)).mistaken
        assert b"one" in await client.redis.hkeys(CONNECTIONS)
        assert (await check(client, other)).closed == {}


async def test_a_worker_is_told_once_that_it_was_found_dead_on_a_guess(client: Client, presence: Start) -> None:
    one = presence("one")
    counts = (await one.observe()).counts
    assert await client.leases.take_over("one", counts["one"], guess_s=60) == 0
    assert [(await one.observe()).mistaken for _ in range(2)] == [True, False]
    assert "one" in (await one.observe()).counts


async def test_a_worker_that_was_found_dead_never_has_one_of_its_former_counts_again(
    client: Client, presence: Start
) -> None:
    one, former = presence("one"), set[int]()
    for _ in range(3):
        count = (await one.observe()).counts["one"]
        assert count not in former
        former.add(count)
        assert await client.leases.take_over("one", count, guess_s=60) == 0
        one.close()
        await over_the_next_connection(one)
