"""Connections go to the primary that a majority of the sentinels names, and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from holdfast.shared.keys import WORKERS
from holdfast.shared.leases import beat_blocking
from holdfast.shared.redis.client import Redis, connect
from holdfast.shared.redis.connection import RedisConnection
from holdfast.shared.redis.errors import ConnectionLost, NotEnoughReplicas, ReadOnlyError
from holdfast.shared.redis.sentinel import open_connection
from redis import Redis as BlockingRedis
from redis import RedisError

from holdfast.cli.check import replication_findings
from tests.support.fake_sentinels import FakeSentinels, fake_sentinels
from tests.support.fault_proxy import port_of
from tests.support.process import until
from tests.support.redis_server import RedisServer
from tests.support.served import served

StartRedis = Callable[..., RedisServer]


@pytest.fixture
async def sentinels(redis_url: str) -> AsyncIterator[FakeSentinels]:
    """All of them name an empty server."""
    port = port_of(redis_url)
    async with fake_sentinels(port, port, port) as sentinels:
        yield sentinels


@pytest.fixture
async def client(sentinels: FakeSentinels) -> AsyncIterator[Redis]:
    client = connect(sentinels.url, max_connections=1, socket_timeout_s=5)
    yield client
    await client.aclose()


async def port_at(client: Redis) -> int:
    return int((await client.info("server"))["tcp_port"])


@pytest.mark.parametrize("other", [1, None, 0])  # it names another, none, or does not answer
async def test_two_of_three_sentinels_name_the_primary(
    client: Redis, sentinels: FakeSentinels, other: int | None
) -> None:
    sentinels.named[0] = other
    assert await port_at(client) == sentinels.named[1]


@pytest.mark.parametrize("others", [(None, None), (1, 2), (0, None)])
async def test_without_a_majority_no_connection_is_opened(
    sentinels: FakeSentinels, others: tuple[int | None, ...]
) -> None:
    sentinels.named[1:] = others
    with pytest.raises(ConnectionLost, match="2 of 3 sentinels must name the primary main"):
        await open_connection(RedisConnection, sentinels.url, 5)


async def test_a_server_that_is_no_primary_is_refused(sentinels: FakeSentinels, redis_server: StartRedis) -> None:
    primary = redis_server()
    sentinels.name(redis_server(replicaof=("127.0.0.1", primary.port)).port)
    with pytest.raises(ConnectionLost, match="is a replica"):
        await open_connection(RedisConnection, sentinels.url, 5)
    with pytest.raises(RedisError, match="is a replica"):
        await asyncio.to_thread(beat_blocking, sentinels.url, "w", 5)


async def test_a_blocking_connection_is_closed_when_its_role_cannot_be_read(
    sentinels: FakeSentinels, redis_server: StartRedis
) -> None:
    server = redis_server(rename_command=("INFO", "HIDDEN"))
    sentinels.name(server.port)
    with pytest.raises(RedisError, match="unknown command") as refused:
        await asyncio.to_thread(beat_blocking, sentinels.url, "w", 5)
    with BlockingRedis.from_url(server.url) as admin:
        await until(lambda: len(admin.client_list()) == 1)
    assert refused.traceback  # it refers to the client, which was closed and not collected


async def test_open_connections_move_when_the_majority_names_another_primary(
    client: Redis, sentinels: FakeSentinels, redis_server: StartRedis
) -> None:
    old = await open_connection(RedisConnection, sentinels.url, 5)
    assert await port_at(client) == sentinels.named[0]
    successor = redis_server().port
    sentinels.named[0] = successor
    await asyncio.sleep(1.2)  # longer than it takes to ask: one of three decides nothing
    assert old.alive
    sentinels.named[1] = successor
    await until(lambda: not old.alive)
    assert await port_at(client) == successor


async def test_connections_stay_while_no_majority_answers(client: Redis, sentinels: FakeSentinels) -> None:
    connection = await open_connection(RedisConnection, sentinels.url, 5)
    sentinels.named = [None] * 3
    await asyncio.sleep(1.2)
    assert connection.alive
    connection.abort()


async def test_a_primary_that_lacks_replicas_is_left_at_its_first_refusal(
    sentinels: FakeSentinels, redis_server: StartRedis
) -> None:
    server = redis_server(min_replicas_to_write=1)
    sentinels.name(server.port)
    connection = await open_connection(RedisConnection, sentinels.url, 5)
    with pytest.raises(NotEnoughReplicas):
        await connection.execute("SET", "k", "v")
    assert not connection.alive
    direct = await open_connection(RedisConnection, server.url, 5)
    with pytest.raises(NotEnoughReplicas):
        await direct.execute("SET", "k", "v")
    assert direct.alive
    direct.abort()


async def test_a_server_that_has_become_a_replica_is_left_at_its_first_refusal(redis_server: StartRedis) -> None:
    server = redis_server()
    connection = await open_connection(RedisConnection, server.url, 5)
    await connection.execute("REPLICAOF", "127.0.0.1", server.port)
    with pytest.raises(ReadOnlyError):
        await connection.execute("SET", "k", "v")
    assert not connection.alive


async def test_the_sentinels_are_left_once_no_connection_to_the_primary_is_open(
    client: Redis, sentinels: FakeSentinels
) -> None:
    await client.ping()
    assert sentinels.links
    await client.aclose()
    await until(lambda: not sentinels.links)


async def test_a_heartbeat_of_a_blocked_worker_reaches_the_primary(client: Redis, sentinels: FakeSentinels) -> None:
    await asyncio.to_thread(beat_blocking, sentinels.url, "w", 5)
    assert await client.hget(WORKERS, "w") == b"1"
    sentinels.named[1:] = [None, None]
    with pytest.raises(RedisError, match="no majority"):
        await asyncio.to_thread(beat_blocking, sentinels.url, "w", 5)


async def test_readyz_names_a_primary_that_would_take_writes_without_replicas(sentinels: FakeSentinels) -> None:
    async with served(sentinels.url) as gateway:
        answer = await gateway.client.get("/readyz")
    assert answer.status_code == 503
    reason = "min-replicas-to-write is 0, so that an old primary would take writes that are lost; it must be 1"
    assert answer.json()["reasons"] == [f"{name} redis: {reason}" for name in ("queue", "log")]


async def test_readyz_names_a_primary_that_no_replica_confirms(
    sentinels: FakeSentinels, redis_server: StartRedis
) -> None:
    sentinels.name(redis_server(min_replicas_to_write=1).port)
    async with served(sentinels.url) as gateway:
        reasons = (await gateway.client.get("/readyz")).json()["reasons"]
    assert "log redis: takes no writes: no replica has confirmed them within min-replicas-max-lag" in reasons


async def test_check_demands_two_replicas_and_writes_that_one_confirms(redis_server: StartRedis) -> None:
    async def texts(server: RedisServer) -> list[str]:
        client = connect(server.url, max_connections=1)
        found = replication_findings("redis", await client.info())
        await client.aclose()
        return [finding.text for finding in found]

    primary = redis_server(min_replicas_to_write=1, repl_diskless_sync_delay=0)
    assert (await texts(primary))[1] == "redis: replicas: 0; with 2, one may fail"
    for _ in range(2):
        redis_server(replicaof=("127.0.0.1", primary.port))

    async def replicated() -> bool:
        return await texts(primary) == ["redis: has replicas, and takes no writes without one"]

    await until(replicated)
