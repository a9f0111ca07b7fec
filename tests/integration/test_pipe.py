"""Many commands at a time on one connection, against a real server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable

import pytest
import redis
from holdfast.shared.pipe import Pipe, PipeScript, PipeWire
from holdfast.shared.redis import NoScriptError, RedisError, ResponseError, WireLost
from holdfast.shared.wire import Wire
from holdfast.worker.threads import MAX_THREADS, JobThreads, install, thread_counts

from tests.support.process import until
from tests.support.redis_server import RedisServer


@pytest.fixture
async def pipe(redis_url: str) -> AsyncIterator[Pipe]:
    pipe = Pipe(redis_url, deadline_s=5)
    yield pipe
    await pipe.aclose()


async def test_commands_at_the_same_time_share_one_connection_and_each_has_its_own_reply(pipe: Pipe) -> None:
    replies = await asyncio.gather(*(pipe.call("ECHO", str(number)) for number in range(500)))
    assert replies == [str(number).encode() for number in range(500)]
    assert len(set(await asyncio.gather(*(pipe.call("CLIENT", "ID") for _ in range(10))))) == 1


async def test_a_refused_command_raises_and_its_neighbours_do_not(pipe: Pipe) -> None:
    right = asyncio.create_task(pipe.call("ECHO", "a"))
    wrong = asyncio.create_task(pipe.call("XADD", "k"))
    assert await right == b"a"
    with pytest.raises(ResponseError):
        await wrong


async def test_a_caller_that_gives_up_does_not_shift_the_replies(pipe: Pipe) -> None:
    await pipe.call("PING")
    patience = asyncio.create_task(pipe.call("ECHO", "a"))
    await asyncio.sleep(0)
    patience.cancel()
    assert await pipe.call("ECHO", "b") == b"b"


async def test_a_lost_connection_fails_what_is_under_way_and_the_next_command_finds_a_new_one(
    pipe: Pipe, redis_url: str
) -> None:
    first = await pipe.call("CLIENT", "ID")
    waiting = asyncio.create_task(pipe.call("XREAD", "BLOCK", "0", "STREAMS", "k", "0-0"))
    await asyncio.sleep(0)
    with redis.Redis.from_url(redis_url) as other:
        other.client_kill_filter(_id=first)
    with pytest.raises(WireLost):
        await asyncio.wait_for(waiting, 10)
    assert await pipe.call("CLIENT", "ID") != first


async def test_a_connection_opened_in_a_job_does_not_need_the_threads_of_the_job(redis_url: str) -> None:
    loop, resolving = asyncio.get_running_loop(), threading.Event()
    if "uvloop" in type(loop).__module__:
        pytest.skip("uvloop resolves names in threads of its own")
    install(loop)
    threads = JobThreads("agent")
    threads.enter()
    hung = [asyncio.create_task(asyncio.to_thread(resolving.wait)) for _ in range(MAX_THREADS)]
    await until(lambda: thread_counts()["agent"].running == MAX_THREADS)
    pipe = Pipe(redis_url.replace("127.0.0.1", "localhost"), deadline_s=5)
    assert await pipe.call("PING") == b"PONG"
    resolving.set()
    await asyncio.gather(*hung)
    await pipe.aclose()


async def test_without_a_server_a_command_fails_and_sends_nothing_later() -> None:
    pipe = Pipe("redis://127.0.0.1:1/0", deadline_s=5)
    with pytest.raises(WireLost):
        await pipe.call("PING")


async def test_a_pipe_that_was_closed_opens_no_connection(pipe: Pipe, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as other:
        assert await pipe.call("PING") == b"PONG"
        await pipe.aclose()
        await until(lambda: len(other.client_list()) == 1)
        before = other.info("stats")["total_connections_received"]
        with pytest.raises(WireLost):
            await pipe.call("PING")
        assert other.info("stats")["total_connections_received"] == before


async def test_a_call_that_waits_for_a_connection_when_its_pipe_is_closed_fails_and_is_not_cancelled() -> None:
    came = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        pipe = Pipe(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0", deadline_s=60)
        call = asyncio.create_task(pipe.call("PING"))
        await came.wait()
        await pipe.aclose()
        with pytest.raises(WireLost):
            await call


async def test_a_connection_that_has_opened_just_before_its_pipe_is_closed_is_dropped(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe, open_wire = Pipe(redis_url, deadline_s=5), PipeWire.open
    opened: list[Wire] = []
    closing: list[asyncio.Task[None]] = []

    async def open_then_close(url: str, deadline_s: float) -> Wire:
        opened.append(await open_wire(url, deadline_s))
        closing.append(asyncio.create_task(pipe.aclose()))  # runs before anything hears of the opened connection
        return opened[0]

    monkeypatch.setattr(PipeWire, "open", open_then_close)
    await asyncio.gather(pipe.wire(), return_exceptions=True)
    await closing[0]
    await until(lambda: not opened[0].alive)


async def test_a_server_that_is_no_primary_any_more_is_left(redis_server: Callable[..., RedisServer]) -> None:
    pipe = Pipe(redis_server().url, deadline_s=5)
    first = await pipe.call("CLIENT", "ID")
    await pipe.call("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(RedisError):
        await pipe.call("SET", "k", "v")
    assert await pipe.call("CLIENT", "ID") != first
    await pipe.aclose()


async def test_what_goes_soon_goes_in_one_write_and_each_has_its_own_reply(pipe: Pipe) -> None:
    wire = await pipe.wire()

    async def reads() -> int:
        return int((await pipe.call("INFO", "stats")).split(b"total_reads_processed:")[1].split(b"\r\n")[0])

    before = await reads()
    soon = [asyncio.create_task(wire.ask_soon("ECHO", str(number))) for number in range(500)]
    await asyncio.sleep(0)
    assert await wire.ask("ECHO", "at once") == b"at once"
    assert await asyncio.gather(*soon) == [str(number).encode() for number in range(500)]
    assert await reads() - before < 10


async def test_what_was_to_go_soon_on_a_connection_that_is_lost_is_never_sent(pipe: Pipe) -> None:
    wire = await pipe.wire()
    soon = asyncio.create_task(wire.ask_soon("SET", "k", "v"))
    await asyncio.sleep(0)
    wire.abort()
    with pytest.raises(WireLost):
        await soon
    assert await pipe.call("GET", "k") is None


async def test_a_script_is_sent_as_text_once_for_each_server(pipe: Pipe) -> None:
    script = PipeScript(pipe, "return {KEYS[1], ARGV[1]}")
    assert await script(["k"], ["a"]) == [b"k", b"a"]
    await pipe.call("SCRIPT", "FLUSH")
    assert await script(["k"], ["b"]) == [b"k", b"b"]
    with pytest.raises(NoScriptError):
        await pipe.call("EVALSHA", "0" * 40, 0)
