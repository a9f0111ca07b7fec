"""Redis dies, freezes, forgets, is full or refuses: jobs wait and go on, viewers stay, and what is missing is said."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
from holdfast.shared.redis.client import Redis
from redis.exceptions import ResponseError

from tests.support.history import Gap
from tests.support.log import Session
from tests.support.patience import patient
from tests.support.process import until
from tests.support.redis_server import RedisServer
from tests.support.scene import Scene, scene, words
from tests.support.sse import SseStream
from tests.support.workers import worker_on

StartRedis = Callable[..., RedisServer]
AdminOf = Callable[[str], Redis]
Forget = Callable[[RedisServer, Redis], Awaitable[None]]


@pytest.mark.parametrize("fsync", ["always", "everysec"])
async def test_f16_f17_a_killed_redis_that_keeps_an_append_only_file_loses_no_event(
    redis_server: StartRedis, fsync: str
) -> None:
    server = redis_server(aof=True, fsync=fsync)
    async with worker_on(server.url), scene(server.url) as play:
        await play.client.offered("scripted")
        for session in ("s", "t"):
            await play.post(session, tokens=150, interval_ms=10)
            play.watch(session)
        for heard in (5, 60):
            await play.heard(heard)
            server.restart()
        await play.verdict()
        for session in ("s", "t"):
            assert await play.client.said(session) == words(150)
            assert (await play.client.job(session)).attempt == 1


@pytest.mark.parametrize("lost_bytes", [1, 200, 3000])
async def test_f18_a_live_worker_writes_the_tail_again_that_a_power_loss_took(
    redis_server: StartRedis, lost_bytes: int
) -> None:
    server = redis_server(aof=True)
    async with worker_on(server.url), scene(server.url) as play:
        await play.client.offered("scripted")
        await play.post(tokens=150, interval_ms=10)
        play.watch()
        await play.heard(60)
        lose_power(server, lost_bytes)
        logs = await play.verdict(gaps=True)
        assert await play.client.said() == words(150)
        assert [event.id.epoch for event in logs["s"]] == [logs["s"][0].id.epoch] * len(logs["s"])


@pytest.mark.parametrize("lost_bytes", [1, 700])
async def test_f18_what_nobody_can_write_again_is_declared_lost(redis_server: StartRedis, lost_bytes: int) -> None:
    server = redis_server(aof=True)
    async with scene(server.url) as play:
        session = Session(server.url)
        patient(session.redis)
        attempt = await session.started()
        play.history.accepted.add(("s", "j1"))
        for seq in range(1, 20):
            await session.append(attempt, seq, f"t{seq}")
        viewer = play.watch()
        await play.heard(20)
        lose_power(server, lost_bytes)
        await until(lambda: bool(viewer.transcript.gaps()))
        (gap,) = viewer.transcript.gaps()
        assert gap == Gap("lost", (await play.logs())["s"][-1].id)
        await session.finish(await session.claim(delivery=2), 1)
        await play.verdict(gaps=True)
        await session.aclose()


def lose_power(server: RedisServer, lost_bytes: int) -> None:
    """Kill the server, take that much off the end of its file, start it again."""
    server.kill()
    (file,) = (server.folder / "appendonlydir").glob("*.incr.aof")
    with file.open("r+b") as aof:
        aof.truncate(file.stat().st_size - lost_bytes)
    server.start()


async def _flush(server: RedisServer, admin: Redis) -> None:
    await admin.flushall()


async def _delete(server: RedisServer, admin: Redis) -> None:
    await admin.delete("holdfast:{s}:log")


async def _expire(server: RedisServer, admin: Redis) -> None:
    await admin.pexpire("holdfast:{s}:log", 1)


async def _restart(server: RedisServer, admin: Redis) -> None:
    server.restart()


@pytest.mark.parametrize("forget", [_flush, _restart])
async def test_f19_a_server_that_forgot_everything_is_told_as_expired_and_work_goes_on(
    redis_server: StartRedis, admin_of: AdminOf, forget: Forget
) -> None:
    server = redis_server()
    async with worker_on(server.url, lease_seconds=1) as worker, scene(server.url) as play:
        await play.client.offered("scripted")
        await play.post(tokens=100_000, interval_ms=5)
        viewer = play.watch()
        await play.heard(10)
        await forget(server, admin_of(server.url))
        await until(lambda: bool(viewer.transcript.gaps()))
        assert {gap.reason for gap in viewer.transcript.gaps()} == {"expired"}
        await until(lambda: not worker._deliveries)
        await play.client.offered_agents.offer({"scripted": {}})
        await play.client.post("s", "j2", options={"tokens": 3})
        assert (await play.client.end("s", "j2"))["type"] == "job.completed"
        await play.client.empty()


@pytest.mark.parametrize("forget", [_delete, _expire])
async def test_f19_a_log_that_vanished_ends_its_job_with_an_error_and_its_successor_says_so(
    redis_server: StartRedis, admin_of: AdminOf, forget: Forget
) -> None:
    server = redis_server()
    async with worker_on(server.url, lease_seconds=1), scene(server.url) as play:
        await play.client.offered("scripted")
        await play.post(tokens=100_000, interval_ms=5)
        viewer = play.watch()
        await play.heard(10)
        await forget(server, admin_of(server.url))
        assert (await play.client.end())["error"]["code"] == "log_lost"
        (end,) = (await play.logs())["s"]
        await until(lambda: viewer.transcript.cursor == end.id)
        had_all = viewer.transcript.events()[-2].id == end.prev
        assert had_all or {gap.reason for gap in viewer.transcript.gaps()} == {"expired"}
        await play.client.post("s", "j2", options={"tokens": 3})
        assert (await play.client.end("s", "j2"))["type"] == "job.completed"
        await play.client.empty()


class Trouble:
    """Makes a server refuse or stall for as long as the block lasts."""

    def __init__(self, server: RedisServer, admin: Redis) -> None:
        self.server = server
        self.admin = admin

    async def loading(self) -> None:
        """Restarts, and takes a while to load what it has. It answers only now and then."""
        await self.admin.call_all([("SET", f"load {number}", 1) for number in range(4000)])
        self.server._options |= {"key-load-delay": 400}
        self.server.kill()
        self.server.start(loaded=False)
        await until(self.server.answers)

    async def busy(self) -> None:
        await self.admin.config_set("busy-reply-threshold", 50)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        writer.write(b"EVAL 'while true do end' 0\r\n")
        await writer.drain()
        await asyncio.sleep(1.5)
        await self.admin.script_kill()
        await reader.read(64)
        writer.close()

    async def snapshot_fails(self) -> None:
        await self.admin.config_set("save", "3600 1000000")
        shutil.rmtree(self.server.folder)
        await self.admin.bgsave()

        async def failed() -> bool:
            return bool((await self.admin.info("persistence"))["rdb_last_bgsave_status"] == "err")

        await until(failed)
        with pytest.raises(ResponseError, match="MISCONF"):
            await self.admin.set("x", 1)
        await asyncio.sleep(1)
        await self.admin.config_set("stop-writes-on-bgsave-error", "no")

    async def sleeping(self) -> None:
        await self.admin.execute_command("DEBUG", "SLEEP", "2")


@pytest.mark.parametrize("kind", ["loading", "busy", "snapshot_fails", "sleeping"])
async def test_f20_a_redis_that_refuses_for_a_while_costs_nothing_and_pings_go_on(
    redis_server: StartRedis, admin_of: AdminOf, kind: str
) -> None:
    server = redis_server(aof=kind == "loading", enable_debug_command="yes")
    admin = admin_of(server.url)
    async with worker_on(server.url), scene(server.url) as play:
        await play.client.offered("scripted")
        await play.post(tokens=60, interval_ms=20)
        play.watch()
        await play.heard(10)
        begun = asyncio.create_task(getattr(Trouble(server, admin), kind)())
        while not begun.done():
            async with SseStream(f"{play.url}/v1/sessions/s/events") as stream:
                assert stream.status == 200
                assert (await anext(stream.chunks())).startswith(b"retry: ")
            await asyncio.sleep(0.2)
        await begun
        await play.verdict()
        assert await play.client.said() == words(60)
        assert (await play.client.job()).attempt == 1


async def test_f21_a_redis_that_stalls_for_five_leases_makes_nobody_take_over_and_pings_go_on(
    redis_server: StartRedis,
) -> None:
    server = redis_server()
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(worker_on(server.url, lease_seconds=1))
        play = await stack.enter_async_context(scene(server.url))
        await play.client.offered("scripted")
        sessions = [f"s{number}" for number in range(50)]
        for session in sessions:
            await play.post(session, tokens=40, interval_ms=50)
        for session in sessions[:5]:
            play.watch(session)
        await play.heard(3)
        async with SseStream(f"{play.url}/v1/sessions/s0/events") as stream:
            chunks = stream.chunks()
            await anext(chunks)
            server.stop()
            stopped = asyncio.create_task(asyncio.sleep(5))
            pings = 0
            while not stopped.done():
                pings += b": ping" in await anext(chunks)
            server.cont()
        assert pings > 10
        await play.verdict()
        assert {(await play.client.job(session)).attempt for session in sessions} == {1}


async def test_f31_at_maxmemory_jobs_wait_a_cancelled_one_ends_and_with_room_the_others_go_on(
    redis_server: StartRedis, admin_of: AdminOf
) -> None:
    """Heartbeats found no room either: by the time there was some, every living worker looked dead."""
    server = redis_server()
    admin = admin_of(server.url)
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(worker_on(server.url, lease_seconds=1))
        play = await stack.enter_async_context(scene(server.url))
        await play.client.offered("scripted")
        for session, tokens in (("s", 100_000), ("t", 100), ("u", 100)):
            await play.post(session, tokens=tokens, interval_ms=10)
            play.watch(session)
        await play.heard(10)
        await admin.config_set("maxmemory", 1)
        await until(lambda: _stands_still(play))
        await play.client.sessions.cancel("s", "j1")
        assert (await play.client.end("s"))["type"] == "job.cancelled"
        assert (await play.client.job("t")).status == "running"
        workers = await play.client.leases.workers()
        await until(lambda: _beats(play, workers))
        await admin.config_set("maxmemory", 0)
        await play.verdict()
        for session in ("t", "u"):
            assert await play.client.said(session) == words(100)
            assert (await play.client.job(session)).attempt == 1


async def _stands_still(play: Scene) -> bool:
    before = await play.logs()
    await asyncio.sleep(0.3)
    return await play.logs() == before


async def _beats(play: Scene, before: dict[str, int]) -> bool:
    """Whether each worker's heart has beaten some times since."""
    now = await play.client.leases.workers()
    return all(now[worker] > count + 3 for worker, count in before.items())
