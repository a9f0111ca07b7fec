"""Clocks that differ, rights that are taken away, logs that are trimmed, zombies of deleted sessions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from holdfast.shared.errors import Fenced, LogGone
from holdfast.shared.redis.client import Redis

from tests.support.history import Gap
from tests.support.log import Session, delta
from tests.support.process import until
from tests.support.redis_server import RedisServer
from tests.support.scene import Scene, scene, words
from tests.support.sse import SseStream
from tests.support.workers import Client, worker_on

StartRedis = Callable[..., RedisServer]
AdminOf = Callable[[str], Redis]
HOUR_S = 3600


@pytest.mark.parametrize("shift_s", [-HOUR_S, HOUR_S])
async def test_f34_a_process_whose_clock_is_an_hour_off_delays_and_loses_nothing(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, shift_s: int
) -> None:
    """Worker and gateway are in this process; Redis, whose clock counts, is not."""
    true_time, true_time_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: true_time() + shift_s)
    monkeypatch.setattr(time, "time_ns", lambda: true_time_ns() + shift_s * 10**9)
    async with worker_on(redis_url, lease_seconds=1), worker_on(redis_url, lease_seconds=1), scene(redis_url) as play:
        await play.client.offered("scripted")
        await play.post(tokens=30, interval_ms=50)
        play.watch()
        await play.heard(3)
        monkeypatch.undo()  # and back in the middle of the job
        await play.post("s", "j2", tokens=3)
        await play.verdict()
        assert (await play.client.job()).attempt == 1
        assert await play.client.said("s", "j2") == words(3)


async def test_f58_an_epoch_that_a_failover_lost_is_hardly_ever_handed_out_again(redis_url: str) -> None:
    """The clock stands behind the last epoch, so that only the random part keeps two claims apart."""
    session = Session(redis_url)
    await session.started()
    await session.redis.hset(session.keys.state, "epoch", 2**52)
    saved = {key: await session.redis.dump(key) for key in session.keys if await session.redis.exists(key)}
    epochs = []
    for _ in range(200):
        epochs.append((await session.claim(delivery=2)).epoch)
        for key, value in saved.items():  # the other server never heard of that claim
            await session.redis.restore(key, 0, value, replace=True)
    assert len(set(epochs)) > 150  # 200 of 1,000 by lot are some 181 different ones
    assert min(epochs) > 2**52
    await session.aclose()


async def test_f59_no_write_of_a_zombie_brings_anything_of_a_deleted_session_back(redis_url: str) -> None:
    session = Session(redis_url)
    attempt = await session.started()
    await session.append(attempt, 1, "a")
    await session.sessions.delete("s")
    await session.log_writer.settle("s")
    before = {key: await session.redis.ttl(key) for key in await session.redis.keys("*")}
    zombie: list[Callable[[], Any]] = [
        lambda: session.append(attempt, 2, "zombie"),
        lambda: session.finish(attempt, 2),
        lambda: session.record(attempt),
        lambda: session.log_writer.ask("s", attempt.epoch, 2, delta("j1", "question"), "q"),
        lambda: session.log_writer.release("s", attempt.epoch),
        lambda: session.log_writer.intents("s", attempt.epoch),
    ]
    for write in zombie:
        with pytest.raises((Fenced, LogGone)):
            await write()
    after = {key: await session.redis.ttl(key) for key in await session.redis.keys("*")}
    assert after.keys() == before.keys()
    assert all(ttl > 0 for ttl in after.values())
    await session.aclose()


async def test_f30_a_log_that_is_trimmed_under_a_paused_viewer_says_so_and_live_ones_notice_nothing(
    redis_url: str,
) -> None:
    async with worker_on(redis_url, retention_events=1000), scene(redis_url) as play:
        await play.client.offered("scripted")
        await play.post(tokens=3000, interval_ms=1)
        live = play.watch()
        await play.heard(5)
        early = live.transcript.events()[2].id
        await until(lambda: len(live.transcript.events()) > 2500)
        await play.client.end()
        async with SseStream(f"{play.url}/v1/sessions/s/events?raw=true", last_event_id=str(early)) as stream:
            late = play.history.client("s", "the paused one", start=early)
            async for frame in stream:
                late.accept(frame)
                if frame.json["type"] == "job.completed":
                    break
        first = (await play.logs())["s"][0].id
        assert late.gaps() == [Gap("trimmed", first)]
        assert late.events()[0].id == first
        assert live.transcript.gaps() == []
        assert live.text == words(3000)
        assert play.history.violations(await play.logs()) == []


async def test_f33_a_gateway_that_may_write_no_log_does_all_its_work_and_outlives_the_loss_of_its_rights(
    redis_server: StartRedis, admin_of: AdminOf
) -> None:
    server = redis_server()
    admin = admin_of(server.url)
    rights = ["on", ">secret", "~holdfast:*", "+@all", "-@dangerous", "+info", "-xadd", "-xtrim", "-xdel", "-xsetid"]
    await admin.execute_command("ACL", "SETUSER", "gateway", *rights)
    url = server.url.replace("redis://", "redis://gateway:secret@")
    async with worker_on(server.url), scene(server.url, gateway_url=url) as play:
        await play.client.offered("scripted")
        body = {"agent": "scripted", "input": "go", "options": {"tokens": 80, "interval_ms": 20}}
        job_id = await _post(play, body)
        play.watch()
        await play.heard(5)
        await admin.execute_command("ACL", "DELUSER", "gateway")
        async with SseStream(f"{play.url}/v1/sessions/s/events") as stream:
            assert stream.status == 200
            assert (await anext(stream.chunks())).startswith(b"retry: ")
        await asyncio.sleep(0.5)
        await admin.execute_command("ACL", "SETUSER", "gateway", *rights)
        await play.verdict()
        assert await play.client.said("s", job_id) == words(80)


async def _post(play: Scene, body: dict[str, Any]) -> str:
    async with httpx2.AsyncClient(trust_env=False) as http:
        job = (await http.post(f"{play.url}/v1/sessions/s/jobs", json=body)).json()
    play.history.accepted.add(("s", job["job_id"]))
    return str(job["job_id"])


async def test_f62_a_job_waits_for_a_worker_that_has_its_agent_and_expires_when_none_comes(
    redis_url: str, client: Client
) -> None:
    async def special(run: Any) -> None:
        await run.text("mine")

    await client.offered_agents.offer({"special": {}})
    await client.post("s", "j1", agent="special")
    async with worker_on(redis_url):
        await client.offered("scripted")
        await client.post("t", options={"tokens": 1})
        await client.end("t")
        assert (await client.job("s", "j1")).status == "queued"
        async with worker_on(redis_url, [special]):
            await client.end("s", "j1")
            assert await client.said("s", "j1") == "mine"
        await client.post("s", "j2", agent="special")
    async with worker_on(redis_url, queue_seconds=1, lease_seconds=0.5):
        assert (await client.end("s", "j2"))["error"]["code"] == "expired"
        await client.empty()
