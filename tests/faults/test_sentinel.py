"""Sentinel replaces the primary of queue and log: jobs and viewers move on, and what is lost is declared."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from holdfast.shared.keys import log_key
from redis.exceptions import ResponseError

from tests.support.failovers import Load, fail_over
from tests.support.history import Gap
from tests.support.log import Session
from tests.support.patience import patient
from tests.support.process import until
from tests.support.redis_server import RedisServer
from tests.support.scene import Scene, scene, words
from tests.support.sentinel import SentinelDeployment, sentinel_deployment
from tests.support.workers import worker_on


@pytest.fixture
async def deployment(tmp_path: Path) -> AsyncIterator[SentinelDeployment]:
    async with sentinel_deployment(tmp_path) as deployment:
        yield deployment


def last_id(server: RedisServer, session: str = "s") -> tuple[int, ...]:
    """The id of the newest event on one server, whatever its role; empty if it has none."""
    with redis.Redis(port=server.port) as client:
        entries: Any = client.xrevrange(log_key(session), count=1)
    return tuple(map(int, entries[0][0].decode().split("-"))) if entries else ()


async def stream(play: Scene, *sessions: str, tokens: int) -> None:
    """Run a job of 50 tokens a second in each session, until each viewer has 20 events."""
    await play.client.offered("scripted")
    for session in sessions:
        await play.post(session, tokens=tokens, interval_ms=20)
        play.watch(session)
    await play.heard(20)


async def completed(play: Scene, *sessions: str, tokens: int) -> None:
    """Wait for the end. Every text is whole, by the attempt that began it."""
    await play.verdict(gaps=True)
    for session in sessions:
        assert await play.client.said(session) == words(tokens)
        assert (await play.client.job(session)).attempt == 1


async def test_f25_jobs_and_viewers_move_to_the_successor_of_a_killed_primary(deployment: SentinelDeployment) -> None:
    async with worker_on(deployment.url), scene(deployment.url) as play:
        await stream(play, "s", "t", tokens=60)
        deployment.servers[0].kill()
        await completed(play, "s", "t", tokens=60)
        assert last_id(await deployment.moved()) == play.watchers[0].transcript.cursor


async def test_f25_a_planned_failover_loses_no_event_and_closes_the_old_connections(
    deployment: SentinelDeployment,
) -> None:
    async with worker_on(deployment.url), scene(deployment.url) as play:
        await stream(play, "s", tokens=150)
        assert deployment.sentinels[0].ask("FAILOVER", "main")
        await completed(play, "s", tokens=150)
        assert last_id(await deployment.moved()) == play.watchers[0].transcript.cursor


async def test_f26_a_live_worker_writes_the_tail_again_that_a_failover_lost(deployment: SentinelDeployment) -> None:
    async with worker_on(deployment.url), scene(deployment.url) as play:
        await stream(play, "s", tokens=120)
        deployment.proxy.cut("replica")
        await play.heard(len(play.watchers[0].transcript.events()) + 10)
        shown = play.watchers[0].transcript.cursor
        deployment.servers[0].kill()
        assert max(map(last_id, deployment.servers[1:])) < shown
        await completed(play, "s", tokens=120)


async def test_f26_a_tail_that_nobody_can_write_again_is_declared_lost(deployment: SentinelDeployment) -> None:
    async with scene(deployment.url) as play:
        session = Session(deployment.url)
        patient(session.redis)
        attempt = await session.started()
        play.history.accepted.add(("s", "j1"))
        await session.append(attempt, 1, "kept")
        await until(lambda: {last_id(server) for server in deployment.servers} == {(attempt.epoch, 2)})
        deployment.proxy.cut("replica")
        await session.append(attempt, 2, "lost")
        viewer = play.watch()
        await play.heard(3)
        deployment.servers[0].kill()
        await until(lambda: bool(viewer.transcript.gaps()))
        assert viewer.transcript.gaps()[0] == Gap("lost", (await play.logs())["s"][-1].id)
        await session.finish(await session.claim(delivery=2), 1)
        await play.verdict(gaps=True)
        await session.aclose()


async def test_f27_the_old_side_of_a_split_takes_no_writes_and_everybody_moves(deployment: SentinelDeployment) -> None:
    async with worker_on(deployment.url), scene(deployment.url) as play:
        await stream(play, "s", tokens=200)
        deployment.proxy.cut("replica", "sentinel")
        primary = await deployment.moved()
        await completed(play, "s", tokens=200)
        assert last_id(primary) == play.watchers[0].transcript.cursor
        with redis.Redis(port=deployment.servers[0].port) as old, pytest.raises(ResponseError, match="NOREPLICAS"):
            old.set("key", "value")


async def test_f28_without_a_replica_in_reach_jobs_wait_and_nobody_takes_them_over(
    deployment: SentinelDeployment,
) -> None:
    def good_replicas() -> int:
        with redis.Redis(port=deployment.servers[0].port) as client:
            return int(client.info("replication")["min_slaves_good_slaves"])

    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(worker_on(deployment.url, lease_seconds=1))
        play = await stack.enter_async_context(scene(deployment.url))
        await stream(play, "s", tokens=80)
        for replica in deployment.servers[1:]:
            replica.stop()
        await until(lambda: good_replicas() == 0)
        before = last_id(deployment.servers[0])
        workers = await play.client.leases.workers()
        assert last_id(deployment.servers[0]) == before
        assert await play.client.leases.workers() == workers
        for replica in deployment.servers[1:]:
            replica.cont()
        await completed(play, "s", tokens=80)


@pytest.mark.parametrize("fault", ["frozen", "cut"])
async def test_the_script_counts_what_a_failover_under_load_costs(tmp_path: Path, fault: str) -> None:
    result = await fail_over(fault, Load(jobs=12, viewers=24, tokens=100, interval_ms=100), tmp_path)
    assert (result.violations, result.lost, result.doubled) == ((), 0, 0)
    assert result.events == 12 * 102
    assert result.attempts == 1
