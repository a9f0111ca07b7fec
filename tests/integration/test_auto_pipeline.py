"""AutoPipeline: many concurrent commands on one connection, against a real server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import redis
from holdfast.shared.redis.auto_pipeline import AutoPipeline, PipelinedConnection
from holdfast.shared.redis.connection import RedisConnection
from holdfast.shared.redis.errors import ConnectionLost, NoScriptError, RedisError, ResponseError
from holdfast.shared.scripts import Script
from holdfast.worker.process.threads import MAX_THREADS, JobThreads, install, thread_counts

from tests.support.process import until
from tests.support.redis_server import RedisServer


@pytest.fixture
async def pipeline(redis_url: str) -> AsyncIterator[AutoPipeline]:
    pipeline = AutoPipeline(redis_url, deadline_s=5)
    yield pipeline
    await pipeline.aclose()


async def test_concurrent_commands_share_one_connection_and_get_their_own_replies(
    pipeline: AutoPipeline,
) -> None:
    replies = await asyncio.gather(*(pipeline.call("ECHO", str(number)) for number in range(500)))
    assert replies == [str(number).encode() for number in range(500)]
    assert len(set(await asyncio.gather(*(pipeline.call("CLIENT", "ID") for _ in range(10))))) == 1


async def test_a_refused_command_does_not_affect_other_commands(pipeline: AutoPipeline) -> None:
    right = asyncio.create_task(pipeline.call("ECHO", "a"))
    wrong = asyncio.create_task(pipeline.call("XADD", "k"))
    assert await right == b"a"
    with pytest.raises(ResponseError):
        await wrong


async def test_cancelling_a_caller_does_not_shift_the_replies(pipeline: AutoPipeline) -> None:
    await pipeline.call("PING")
    patience = asyncio.create_task(pipeline.call("ECHO", "a"))
    await asyncio.sleep(0)
    patience.cancel()
    assert await pipeline.call("ECHO", "b") == b"b"


async def test_a_lost_connection_fails_pending_commands_and_the_next_command_reconnects(
    pipeline: AutoPipeline, redis_url: str
) -> None:
    first = await pipeline.call("CLIENT", "ID")
    waiting = asyncio.create_task(pipeline.call("XREAD", "BLOCK", "0", "STREAMS", "k", "0-0"))
    await asyncio.sleep(0)
    with redis.Redis.from_url(redis_url) as other:
        other.client_kill_filter(_id=first)
    with pytest.raises(ConnectionLost):
        await asyncio.wait_for(waiting, 10)
    assert await pipeline.call("CLIENT", "ID") != first


async def test_opening_a_connection_does_not_use_the_threads_of_the_calling_job(redis_url: str) -> None:
    loop, resolving = asyncio.get_running_loop(), threading.Event()
    if "uvloop" in type(loop).__module__:
        pytest.skip("uvloop resolves names in threads of its own")
    install(loop)
    threads = JobThreads("agent")
    threads.enter()
    hung = [asyncio.create_task(asyncio.to_thread(resolving.wait)) for _ in range(MAX_THREADS)]
    await until(lambda: thread_counts()["agent"].running == MAX_THREADS)
    pipeline = AutoPipeline(redis_url.replace("127.0.0.1", "localhost"), deadline_s=5)
    assert await pipeline.call("PING") == b"PONG"
    resolving.set()
    await asyncio.gather(*hung)
    await pipeline.aclose()


async def test_without_a_server_a_command_fails_and_is_not_sent_later() -> None:
    pipeline = AutoPipeline("redis://127.0.0.1:1/0", deadline_s=5)
    with pytest.raises(ConnectionLost):
        await pipeline.call("PING")


async def test_a_pipeline_that_was_closed_opens_no_connection(pipeline: AutoPipeline, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as other:
        assert await pipeline.call("PING") == b"PONG"
        await pipeline.aclose()
        await until(lambda: len(other.client_list()) == 1)
        before = other.info("stats")["total_connections_received"]
        with pytest.raises(ConnectionLost):
            await pipeline.call("PING")
        assert other.info("stats")["total_connections_received"] == before


async def test_a_connection_that_has_opened_just_before_its_pipeline_is_closed_is_dropped(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, open_connection = AutoPipeline(redis_url, deadline_s=5), PipelinedConnection.open
    opened: list[RedisConnection] = []
    closing: list[asyncio.Task[None]] = []

    async def open_then_close(url: str, deadline_s: float, **_: Any) -> RedisConnection:
        opened.append(await open_connection(url, deadline_s))
        closing.append(asyncio.create_task(pipeline.aclose()))  # runs before the pipeline has the opened connection
        return opened[0]

    monkeypatch.setattr(PipelinedConnection, "open", open_then_close)
    await asyncio.gather(pipeline.connection(), return_exceptions=True)
    await closing[0]
    await until(lambda: not opened[0].alive)


async def test_a_call_that_waits_for_a_connection_when_its_pipeline_is_closed_fails_and_is_not_cancelled() -> None:
    connected = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        pipeline = AutoPipeline(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0", deadline_s=60)
        call = asyncio.create_task(pipeline.call("PING"))
        await connected.wait()
        await pipeline.aclose()
        with pytest.raises(ConnectionLost):
            await call


async def test_a_demoted_primary_is_disconnected(redis_server: Callable[..., RedisServer]) -> None:
    pipeline = AutoPipeline(redis_server().url, deadline_s=5)
    first = await pipeline.call("CLIENT", "ID")
    await pipeline.call("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(RedisError):
        await pipeline.call("SET", "k", "v")
    assert await pipeline.call("CLIENT", "ID") != first
    await pipeline.aclose()


async def test_gathered_commands_are_sent_in_one_write_and_get_their_own_replies(pipeline: AutoPipeline) -> None:
    connection = await pipeline.connection()

    async def reads() -> int:
        return int((await pipeline.call("INFO", "stats")).split(b"total_reads_processed:")[1].split(b"\r\n")[0])

    before = await reads()
    soon = [asyncio.create_task(connection.execute_soon("ECHO", str(number))) for number in range(500)]
    await asyncio.sleep(0)
    assert await connection.execute("ECHO", "at once") == b"at once"
    assert await asyncio.gather(*soon) == [str(number).encode() for number in range(500)]
    assert await reads() - before < 10


async def test_gathered_commands_of_a_lost_connection_are_never_sent(pipeline: AutoPipeline) -> None:
    connection = await pipeline.connection()
    soon = asyncio.create_task(connection.execute_soon("SET", "k", "v"))
    await asyncio.sleep(0)
    connection.abort()
    with pytest.raises(ConnectionLost):
        await soon
    assert await pipeline.call("GET", "k") is None


async def test_a_script_is_sent_as_text_once_for_each_server(pipeline: AutoPipeline) -> None:
    script = Script("return {KEYS[1], ARGV[1]}")
    assert await script.run((await pipeline.connection()).execute_soon, ["k"], ["a"]) == [b"k", b"a"]
    await pipeline.call("SCRIPT", "FLUSH")
    assert await script.run((await pipeline.connection()).execute_soon, ["k"], ["b"]) == [b"k", b"b"]
    with pytest.raises(NoScriptError):
        await pipeline.call("EVALSHA", "0" * 40, 0)
