"""The fault proxy does what it says, so that a test behind it means something."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis
from holdfast.shared.redis.client import connect
from holdfast.shared.redis.errors import RedisError

from tests.support.fault_proxy import FaultProxy, port_of


@pytest.fixture
async def proxy(redis_url: str) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(port_of(redis_url)) as proxy:
        yield proxy


async def ask(proxy: FaultProxy, *command: str, timeout_s: float = 5) -> object:
    client = connect(proxy.url, max_connections=1, socket_timeout_s=timeout_s)
    try:
        return await client.execute_command(*command)
    finally:
        await client.aclose()


async def test_without_faults_it_changes_nothing(proxy: FaultProxy) -> None:
    assert await ask(proxy, "ECHO", "x" * 100_000) == b"x" * 100_000


async def test_a_reply_is_lost_after_the_command_was_carried_out(proxy: FaultProxy, redis_url: str) -> None:
    proxy.drop_reply(lambda command: command[0] == b"INCR")
    with pytest.raises(RedisError):
        await ask(proxy, "INCR", "n")
    assert await ask(proxy, "GET", "n") == b"1"
    assert proxy.dropped == 1


async def test_a_slow_and_sliced_connection_brings_the_same_bytes(proxy: FaultProxy) -> None:
    proxy.slice_bytes, proxy.delay_s = 1, 0.001
    assert await ask(proxy, "ECHO", "abc") == b"abc"


async def test_a_black_hole_lets_nothing_pass_until_it_is_gone(proxy: FaultProxy) -> None:
    proxy.black_hole = True
    with pytest.raises(RedisError):
        await ask(proxy, "PING", timeout_s=0.1)
    proxy.black_hole = False
    assert await ask(proxy, "PING")


@pytest.mark.parametrize("way", ["cut", "reset", "half_close"])
async def test_open_connections_end(proxy: FaultProxy, way: str) -> None:
    client = connect(proxy.url, max_connections=1, socket_timeout_s=5)
    waiting = asyncio.create_task(client.blpop("nothing", timeout=4))
    while not proxy._links:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    getattr(proxy, way)()
    with pytest.raises(RedisError):
        await waiting
    await client.aclose()


async def test_a_server_that_is_away_looks_like_one(proxy: FaultProxy) -> None:
    proxy.refusing = True
    with pytest.raises((RedisError, redis.ConnectionError)):
        await ask(proxy, "PING")
