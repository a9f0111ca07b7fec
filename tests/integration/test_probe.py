"""Servers that lack something, as managed services do: it is named, and without tracking a gateway polls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from holdfast.gateway.stream.hub import StreamLimits
from holdfast.shared.redis.client import connect
from holdfast.shared.redis.probe import tracking_problem
from holdfast.shared.redis.rights import refusals
from holdfast.shared.redis.users import WORKER

from holdfast.cli.check import command_findings, rights_findings
from tests.support.log import Session
from tests.support.process import until
from tests.support.redis_server import RedisServer
from tests.support.served import served
from tests.support.streams import Streams, frames_until, ids_until, streams
from tests.support.workers import worker_on

StartRedis = Callable[..., RedisServer]


@pytest.fixture
async def untracked_url(redis_url: str) -> AsyncIterator[str]:
    """An empty server, as a user who may do all but CLIENT TRACKING."""
    admin = connect(redis_url, max_connections=1)
    await admin.execute_command("ACL", "SETUSER", "untracked", "on", ">secret", "~*", "+@all", "-client|tracking")
    yield redis_url.replace("redis://", "redis://untracked:secret@")
    await admin.execute_command("ACL", "DELUSER", "untracked")
    await admin.aclose()


@pytest.fixture
async def polled(untracked_url: str, session: Session) -> AsyncIterator[Streams]:
    async with streams(untracked_url, StreamLimits(recheck_s=3600)) as served_streams:
        await until(lambda: served_streams.tailer.connected)
        yield served_streams


async def test_without_tracking_live_viewers_get_what_is_appended(polled: Streams, session: Session) -> None:
    attempt = await session.started()
    await session.append(attempt, 1, "a")
    async with polled.open(raw="true") as stream:
        await ids_until(stream, f"{attempt.epoch}-2")
        await until(lambda: any(channel.live for channel in polled.tailer.channels.values()))
        for seq in range(2, 6):
            await session.append(attempt, seq, "b")
            assert await ids_until(stream, f"{attempt.epoch}-{seq + 1}") == [f"{attempt.epoch}-{seq + 1}"]


async def test_without_tracking_a_log_that_vanished_is_found_by_the_recheck(
    untracked_url: str, session: Session
) -> None:
    attempt = await session.started()
    await session.append(attempt, 1, "a")
    async with streams(untracked_url, StreamLimits(recheck_s=0.2)) as polled, polled.open(raw="true") as stream:
        await ids_until(stream, f"{attempt.epoch}-2")
        await session.redis.delete(session.keys.log)
        frames = await frames_until(stream, lambda frame: frame.json["type"] == "gap")
        assert frames[-1].json["reason"] == "expired"


async def test_a_gateway_without_tracking_is_ready_and_logs_that_it_polls(
    untracked_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with served(untracked_url) as gateway:
        assert (await gateway.client.get("/readyz")).status_code == 200
        printed = ""

        def said() -> bool:
            nonlocal printed
            printed += "".join(capsys.readouterr())
            return "polling" in printed and "CLIENT TRACKING is refused" in printed

        await until(said)


async def test_check_notes_that_a_gateway_would_poll(untracked_url: str) -> None:
    found = await rights_findings("redis", untracked_url)
    assert found[0].text == "redis: the user untracked has the rights of: gateway, worker, operator"
    assert found[-1].ok is None
    assert found[-1].text.startswith("redis: does not notify of changes, so that gateways poll every 50 ms: ")


async def test_a_server_with_tracking_passes_the_probe_and_keeps_no_key(redis_url: str, session: Session) -> None:
    assert await tracking_problem(redis_url, 5) is None
    assert await session.redis.execute_command("DBSIZE") == 0


async def test_tracking_that_is_accepted_without_invalidations_is_found() -> None:
    replies = b"+OK\r\n" * 2 + b"+PONG\r\n$-1\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:1\r\n:1\r\n"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(replies[:10])
        await reader.readuntil(b"HGET")
        writer.write(replies[10:])
        await reader.read(-1)
        writer.close()
        left.set()

    left = asyncio.Event()
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        problem = await tracking_problem(f"redis://127.0.0.1:{port}/0", 5)
        await left.wait()
    assert problem == "CLIENT TRACKING is accepted, but no invalidation arrives"


async def test_commands_that_a_server_lacks_are_named(redis_server: StartRedis) -> None:
    server = redis_server(rename_command=("XSETID", "hidden"))
    found = await refusals(server.url, WORKER.on_log, 5)
    assert found.sentences("default") == ["the server has no command XSETID"]
    (finding,) = await command_findings("log redis", server.url)
    assert (finding.ok, finding.text) == (False, "log redis: the server has no command XSETID")


async def test_a_worker_logs_at_its_start_what_the_server_lacks(
    redis_server: StartRedis, capsys: pytest.CaptureFixture[str]
) -> None:
    async with worker_on(redis_server(rename_command=("XSETID", "hidden")).url):
        printed = ""

        def said() -> bool:
            nonlocal printed
            printed += "".join(capsys.readouterr())
            return "the server has no command XSETID" in printed

        await until(said)


async def test_readyz_names_a_command_that_the_server_lacks(redis_server: StartRedis) -> None:
    async with served(redis_server(rename_command=("EVALSHA", "hidden")).url) as gateway:
        answer = await gateway.client.get("/readyz")
    assert answer.json()["reasons"][0] == "queue redis: the server has no command EVALSHA"
