"""Calls over a few connections with many under way on each, against a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import pytest
from holdfast.shared.redis import auto_pipeline
from holdfast.shared.redis.client import Redis, connect
from holdfast.shared.redis.errors import ConnectionLost, PipelineFull, ResponseError
from holdfast.shared.scripts import Script

from tests.support.process import until
from tests.support.redis_server import RedisServer


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    client = connect(redis_url, max_connections=3)
    yield client
    await client.aclose()


@pytest.fixture
async def single(redis_url: str) -> AsyncIterator[Redis]:
    single = connect(redis_url, max_connections=1)
    yield single
    await single.aclose()


async def test_calls_at_once_take_no_more_connections_than_allowed(client: Redis) -> None:
    ids = await asyncio.gather(*(client.client_id() for _ in range(300)))
    assert len(set(ids)) == 3


async def test_calls_one_by_one_take_a_single_connection(client: Redis) -> None:
    assert len({await client.client_id() for _ in range(10)}) == 1


async def test_no_call_waits_behind_one_that_takes_long_while_a_connection_is_free(client: Redis) -> None:
    long = asyncio.create_task(client.blpop(["k"], timeout=0))
    await asyncio.sleep(0)
    async with asyncio.timeout(20):
        await client.rpush("k", "v")
        assert await long == (b"k", b"v")


async def test_replies_are_those_of_redis_py(client: Redis) -> None:
    assert await client.hset("h", mapping={"a": 1}) == 1
    assert await client.hgetall("h") == {b"a": b"1"}
    assert await client.expire("h", 10) is True
    assert await client.xadd("x", {"f": "v"}, id="1-1") == b"1-1"
    assert await client.xrange("x") == [(b"1-1", {b"f": b"v"})]
    assert await client.zadd("z", {"m": 1}) == 1
    assert await client.zrangebyscore("z", "-inf", "+inf") == [b"m"]
    assert (await client.info("memory"))["maxmemory_policy"] == "noeviction"
    assert await client.config_set("busy-reply-threshold", 5000) is True


async def test_commands_are_sent_together_and_answered_in_order(client: Redis) -> None:
    assert (await client.call_all([("INCR", "n"), ("HGETALL", "h"), ("CLIENT", "ID")]))[:2] == [1, []]
    async with asyncio.timeout(20):
        assert await client.call_all([]) == []


async def test_a_transaction_is_carried_out_as_a_whole(client: Redis) -> None:
    assert await client.transaction(("INCR", "n"), ("HGETALL", "h")) == [1, []]


async def test_an_error_among_the_replies_of_a_transaction_is_raised(client: Redis) -> None:
    await client.set("text", "a")
    with pytest.raises(ResponseError, match="not an integer"):
        await client.transaction(("INCR", "n"), ("INCR", "text"))
    assert await client.get("n") == b"1"


async def test_a_transaction_for_which_there_is_no_room_changes_nothing(
    redis_server: Callable[..., RedisServer],
) -> None:
    client = connect(redis_server().url, max_connections=1)
    await client.config_set("maxmemory", 1)
    with pytest.raises(ResponseError, match="maxmemory"):
        await client.transaction(("SET", "a", 1))
    assert await client.get("a") is None
    await client.aclose()


async def test_a_call_too_many_is_refused_and_not_sent(
    single: Redis, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auto_pipeline, "MAX_CALLS", 2)
    await single.ping()
    waiting = [asyncio.create_task(single.call("BLPOP", "k", 0)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(PipelineFull):
        await single.set("a", 1)
    for call in waiting:
        call.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert await client.get("a") is None


async def test_a_call_behind_too_many_unsent_bytes_is_refused(
    redis_server: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auto_pipeline, "MAX_UNSENT_BYTES", 10_000_000)
    server = redis_server()
    client = connect(server.url, max_connections=1)
    await client.ping()
    server.stop()
    large = [asyncio.create_task(client.set("large", b"x" * 10_000_000)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(PipelineFull):
        await client.ping()
    server.cont()
    await asyncio.gather(*large)
    assert await client.ping()
    await client.aclose()


async def test_a_blocking_call_that_is_given_up_takes_nothing_that_comes_later(single: Redis, redis_url: str) -> None:
    other = connect(redis_url, max_connections=1)
    for _ in range(20):
        call = asyncio.create_task(single.blpop(["k"], timeout=10))
        await until(lambda: _blocked(other, 1))
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call
        await until(lambda: _blocked(other, 0))
    await other.rpush("k", "v")
    assert await single.blpop(["k"], timeout=10) == (b"k", b"v")
    await other.aclose()


async def _blocked(client: Redis, count: int) -> bool:
    return bool((await client.info("clients"))["blocked_clients"] == count)


async def test_a_script_that_the_server_forgot_is_sent_as_text(client: Redis) -> None:
    script = Script("return {KEYS[1], ARGV[1]}")
    for value in (b"a", b"b"):
        assert await script.run(client.call, ["k"], [value]) == [b"k", value]
        await client.script_flush()


async def test_a_write_whose_connection_is_lost_is_an_error_and_is_not_repeated(single: Redis, redis_url: str) -> None:
    other = connect(redis_url, max_connections=1)
    first = await single.client_id()
    call = asyncio.create_task(single.call("BLPOP", "k", 0))
    await until(lambda: _blocked(other, 1))
    await other.client_kill_filter(_id=first)
    with pytest.raises(ConnectionLost):
        await call
    assert await single.client_id() != first
    assert await _blocked(other, 0)
    await other.aclose()


def test_what_is_no_address_is_refused_at_once() -> None:
    with pytest.raises(ValueError):
        connect("http://127.0.0.1", max_connections=1)
