"""RedisConnection, with and without invalidations, against a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from holdfast.shared.redis.connection import SILENCE_CHECKS, RedisConnection
from holdfast.shared.redis.errors import ConnectionLost, RedisError

from tests.support.process import until
from tests.support.redis_server import RedisServer


class RecordingListener:
    """Records the callbacks of a connection."""

    def __init__(self) -> None:
        self.invalidations: list[list[bytes] | None] = []
        self.losses = 0

    def invalidated(self, keys: list[bytes] | None) -> None:
        self.invalidations.append(keys)

    def drained(self) -> None:
        pass

    def lost(self) -> None:
        self.losses += 1


@pytest.fixture
def listener() -> RecordingListener:
    return RecordingListener()


@pytest.fixture
async def connection(redis_url: str, listener: RecordingListener) -> AsyncIterator[RedisConnection]:
    connection = await RedisConnection.open(redis_url, 5, listener=listener)
    yield connection
    connection.abort()


@pytest.fixture
def other(redis_url: str) -> redis.Redis:
    return redis.Redis.from_url(redis_url)


def guarded(server: RedisServer) -> RedisServer:
    """Set the password `secret` on the server."""
    with redis.Redis.from_url(server.url) as admin:
        admin.config_set("requirepass", "secret")
    return server


async def test_a_tracked_key_is_invalidated_once_until_the_next_read(
    connection: RedisConnection, listener: RecordingListener, other: redis.Redis
) -> None:
    for _ in range(2):
        listener.invalidations.clear()
        await connection.execute("XREAD", "STREAMS", "k", "0-0")
        other.xadd("k", {"a": 1})
        other.xadd("k", {"a": 2})
        await until(lambda: bool(listener.invalidations))
        await connection.execute("PING")
        assert listener.invalidations == [[b"k"]]


async def test_flushing_the_server_invalidates_all_keys(
    connection: RedisConnection, listener: RecordingListener, other: redis.Redis
) -> None:
    await connection.execute("XREAD", "STREAMS", "k", "0-0")
    other.flushall()
    await until(lambda: None in listener.invalidations)


async def test_replies_match_their_commands_between_invalidations(
    connection: RedisConnection, listener: RecordingListener, other: redis.Redis
) -> None:
    replies: list[tuple[int, Any]] = []

    def keep(number: int) -> Callable[[Any], None]:
        return lambda reply: replies.append((number, reply))

    for number in range(2000):
        connection.call(keep(number), "XREAD", "STREAMS", f"k{number % 7}", "0-0")
        connection.call(keep(number), "ECHO", str(number))
        if number % 50 == 0:
            other.xadd(f"k{number % 7}", {"n": number})
            await asyncio.sleep(0)
    await connection.execute("PING")
    echoes = [(number, reply) for number, reply in replies if isinstance(reply, bytes)]
    assert echoes == [(number, str(number).encode()) for number in range(2000)]
    assert listener.invalidations


async def test_an_error_is_the_reply_to_its_own_command_only(connection: RedisConnection) -> None:
    wrong = asyncio.create_task(connection.execute("XADD", "k"))
    right = asyncio.create_task(connection.execute("ECHO", "a"))
    with pytest.raises(RedisError, match="wrong number of arguments"):
        await wrong
    assert await right == b"a"


async def test_pending_commands_fail_when_the_server_dies(
    redis_server: Callable[..., RedisServer], listener: RecordingListener
) -> None:
    server = redis_server()
    connection = await RedisConnection.open(server.url, 30, listener=listener)
    waiting = asyncio.create_task(connection.execute("XREAD", "BLOCK", "0", "STREAMS", "k", "0-0"))
    await asyncio.sleep(0)
    server.kill()
    for asked in (waiting, connection.execute("PING")):
        with pytest.raises(ConnectionLost):
            await asyncio.wait_for(asked, 10)
    assert (listener.losses, connection.alive) == (1, False)


async def test_a_silent_server_loses_the_connection_at_the_deadline(
    redis_server: Callable[..., RedisServer], listener: RecordingListener
) -> None:
    server = redis_server()
    connection = await RedisConnection.open(server.url, 0.2, listener=listener)
    server.stop()
    await until(lambda: listener.losses == 1)
    assert not connection.alive
    with pytest.raises(ConnectionLost):
        await RedisConnection.open(server.url, 0.2, listener=listener)
    server.cont()


async def test_a_pause_shorter_than_the_deadline_keeps_the_connection(
    redis_server: Callable[..., RedisServer], listener: RecordingListener
) -> None:
    server = redis_server()
    connection = await RedisConnection.open(server.url, 3600, listener=listener)
    for _ in range(2):
        await connection.execute("PING")
        server.stop()
        asked = asyncio.create_task(connection.execute("ECHO", "a"))
        await asyncio.sleep(0)
        for _ in range(SILENCE_CHECKS):  # as many as there are within a deadline, without waiting for them
            connection._check()
        server.cont()
        assert await asked == b"a"
    connection.abort()


async def test_an_idle_connection_is_kept(redis_url: str, listener: RecordingListener) -> None:
    connection = await RedisConnection.open(redis_url, 0.1, listener=listener)
    await asyncio.sleep(0.5)
    assert (connection.alive, listener.losses) == (True, 0)
    connection.abort()


@pytest.mark.parametrize("credentials", ["", "someone:wrong@", ":wrong@"])
async def test_a_refused_handshake_raises_the_error_of_the_server(
    redis_server: Callable[..., RedisServer], listener: RecordingListener, credentials: str
) -> None:
    server = guarded(redis_server())
    with pytest.raises(RedisError):
        await RedisConnection.open(server.url.replace("//", f"//{credentials}"), 5, listener=listener)


async def test_password_and_database_of_the_url_are_used(
    redis_server: Callable[..., RedisServer], listener: RecordingListener
) -> None:
    server = guarded(redis_server())
    url = server.url.replace("//", "//:secret@").replace("/0", "/3")
    connection = await RedisConnection.open(url, 5, listener=listener)
    assert b"db=3" in await connection.execute("CLIENT", "INFO")
    connection.abort()


async def test_a_unix_socket_url_is_supported(
    redis_server: Callable[..., RedisServer], listener: RecordingListener, tmp_path: Path
) -> None:
    path = tmp_path / "s"
    redis_server(unixsocket=str(path))
    connection = await RedisConnection.open(f"unix://{path}", 5, listener=listener)
    assert await connection.execute("ECHO", "a") == b"a"
    connection.abort()


async def test_a_reply_without_a_command_drops_the_connection(listener: RecordingListener) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"+HELLO\r\n+TRACKING\r\n+what nobody asked for\r\n")
        await reader.read(-1)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ConnectionLost):
            await RedisConnection.open(f"redis://127.0.0.1:{port}/0", 120, listener=listener)  # no silence ends it
        await until(lambda: listener.losses == 1)


async def test_a_refused_tcp_connection_raises_connection_lost(listener: RecordingListener) -> None:
    with pytest.raises(ConnectionLost, match="ConnectionRefusedError"):
        await RedisConnection.open("redis://127.0.0.1:1/0", 5, listener=listener)


async def test_a_server_that_closes_after_the_handshake_leaves_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    checks, check = 0, RedisConnection._check

    def counted(connection: RedisConnection) -> None:
        nonlocal checks
        checks += 1
        check(connection)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"+OK\r\n")
        writer.close()

    monkeypatch.setattr(RedisConnection, "_check", counted)
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        for _ in range(20):
            with suppress(ConnectionLost):
                connection = await RedisConnection.open(f"redis://127.0.0.1:{port}/0", 0.4)
                await until(lambda: not connection.alive)  # noqa: B023 - awaited at once
    after = checks
    await asyncio.sleep(0.5)
    assert checks == after
