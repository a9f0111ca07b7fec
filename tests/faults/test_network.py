"""The links between the parts lose replies, reset, fall silent and crawl: nothing is lost, nothing comes twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from functools import partial
from hashlib import sha1

import orjson
import pytest
from holdfast.shared.ids import ORIGIN
from holdfast.shared.log.event_log import EventLog
from holdfast.shared.redis.client import connect
from holdfast.shared.redis.errors import RedisConnectionError, RedisError
from holdfast.shared.redis.log_connections import connect_logs
from holdfast.shared.scripts import source

from tests.support.fault_proxy import Command, FaultProxy, port_of
from tests.support.log import Session
from tests.support.process import until
from tests.support.scene import scene, words
from tests.support.served import Served, served
from tests.support.workers import worker_on


@pytest.fixture
async def proxy(redis_url: str) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(port_of(redis_url)) as proxy:
        yield proxy


def runs(family: str, name: str, *, prelude: bool = True) -> Callable[[Command], bool]:
    """Whether a command runs this script."""
    digest = sha1(source(family, name, prelude=prelude).encode()).hexdigest().encode()
    return lambda command: command[:2] == [b"EVALSHA", digest]


def half_of(wanted: Callable[[Command], bool]) -> Callable[[Command], bool]:
    """Every other one of these commands, by lot."""
    chance = random.Random(22)
    return lambda command: wanted(command) and chance.random() < 0.5


async def test_f22_half_of_the_appends_lose_their_reply_and_each_event_is_there_once(
    redis_url: str, proxy: FaultProxy
) -> None:
    by_script = runs("session", "append", prelude=False)
    proxy.drop_reply(half_of(lambda command: command[0] == b"XADD" or by_script(command)))
    async with worker_on(proxy.url, batch_ms=0), scene(redis_url) as play:
        await play.client.offered("scripted")
        await play.post(tokens=60, interval_ms=5, tools=2)
        play.watch()
        await play.verdict()
        assert await play.client.said() == words(60)
        assert (await play.client.job()).attempt == 1
    assert proxy.dropped > 5


@pytest.mark.parametrize("script", ["session/claim", "session/finish", "queue/take", "queue/drop", "queue/ready"])
async def test_f22_f54_any_other_step_that_loses_its_reply_is_taken_once(
    redis_url: str, proxy: FaultProxy, script: str
) -> None:
    """A take whose reply was lost is found by the heartbeat; all else is repeated as it was."""
    proxy.drop_reply(half_of(runs(*script.split("/"))))
    async with worker_on(proxy.url, lease_seconds=1), scene(redis_url) as play:
        await play.client.offered("scripted")
        for job in ("j1", "j2", "j3", "j4"):
            await play.post("s", job, tokens=5, interval_ms=1)
        play.watch()
        logs = await play.verdict()
        starts = [event for event in logs["s"] if event.kind == "job.started"]
        assert len(starts) == 4
        await play.client.empty()
    assert proxy.dropped


async def test_f10_posts_whose_steps_lose_their_replies_make_one_job_under_one_key(
    redis_url: str, proxy: FaultProxy
) -> None:
    body = {"agent": "scripted", "input": "go", "options": {"tokens": 3}}
    async with worker_on(redis_url), scene(redis_url) as play, served(proxy.url) as gateway:
        await play.client.offered("scripted")
        for family, name in (("queue", "reserve"), ("session", "submit"), ("queue", "ready")):
            proxy.drop_reply(runs(family, name))
            headers = {"Idempotency-Key": name}
            path = f"/v1/sessions/{name}/jobs"
            posts = [gateway.client.post(path, json=body, headers=headers) for _ in range(10)]
            statuses = {answer.status_code for answer in await asyncio.gather(*posts)}
            assert statuses <= {202, 503}
            proxy.drop_reply(lambda _: False)
            await until(partial(_accepted, gateway, path, body, headers))
            (job_id,) = (await play.client.sessions.session(name)).jobs
            play.history.accepted.add((name, job_id))
            play.watch(name)
        logs = await play.verdict()
        assert [sum(event.kind == "job.started" for event in log) for log in logs.values()] == [1, 1, 1]


async def _accepted(gateway: Served, path: str, body: object, headers: dict[str, str]) -> bool:
    return (await gateway.client.post(path, json=body, headers=headers)).status_code == 202


TOXICS: dict[str, Callable[[FaultProxy], None]] = {
    "resets": FaultProxy.reset,
    "cuts": FaultProxy.cut,
    "half closes": FaultProxy.half_close,
    "slices of one byte": lambda proxy: setattr(proxy, "slice_bytes", 1),
    "200 ms late": lambda proxy: setattr(proxy, "delay_s", 0.2),
    "10 kB a second": lambda proxy: setattr(proxy, "bytes_per_s", 10_000),
}


@pytest.mark.parametrize("link", ["worker", "gateway"])
@pytest.mark.parametrize("toxic", TOXICS)
async def test_f23_a_bad_link_costs_time_and_no_event(redis_url: str, proxy: FaultProxy, link: str, toxic: str) -> None:
    worker_url, gateway_url = (proxy.url, redis_url) if link == "worker" else (redis_url, proxy.url)
    async with worker_on(worker_url), scene(redis_url, gateway_url=gateway_url) as play:
        await play.client.offered("scripted")
        await play.post(tokens=40, interval_ms=20)
        play.watch()
        await play.heard(5)
        for _ in range(3):
            TOXICS[toxic](proxy)
            await asyncio.sleep(0.2)
        await play.verdict()
        assert await play.client.said() == words(40)
        assert (await play.client.job()).attempt == 1


@pytest.mark.parametrize("link", ["worker", "gateway"])
async def test_f23_a_link_that_falls_silent_is_given_up_and_made_anew(
    redis_url: str, proxy: FaultProxy, link: str
) -> None:
    worker_url, gateway_url = (proxy.url, redis_url) if link == "worker" else (redis_url, proxy.url)
    async with worker_on(worker_url), scene(redis_url, gateway_url=gateway_url) as play:
        await play.client.offered("scripted")
        await play.post(tokens=40, interval_ms=20)
        watcher = play.watch()
        await play.heard(5)
        before = proxy.connections
        proxy.black_hole = True
        silent = set(proxy._links)
        await until(lambda: proxy.connections > before, 60)
        for mute in silent:  # what the kernel would still bring when the cable is back never comes
            mute.reset()
        proxy.black_hole = False
        await play.verdict()
        assert await play.client.said() == words(40)
        assert watcher.refused == []


async def test_f24_calls_cancelled_in_the_middle_bring_nobody_anothers_bytes(redis_url: str, proxy: FaultProxy) -> None:
    async with AsyncExitStack() as stack:
        for number in range(10):
            session = Session(redis_url, f"s{number}")
            stack.push_async_callback(session.aclose)
            attempt = await session.started()
            await session.append(attempt, 1, *([f"of {session.id}"] * 20))
        proxy.delay_s = 0.002  # requests and replies are under way when their calls are cancelled
        logs = connect_logs(proxy.url, max_connections=16, deadline_s=60)
        stack.push_async_callback(logs.aclose)
        log, chance, cancelled = EventLog(logs), random.Random(24), 0

        async def read(session_id: str) -> None:
            page = await log.read(session_id, ORIGIN)
            texts = {orjson.loads(entry.body).get("text") for entry in page.entries[1:]}
            assert texts == {f"of {session_id}"}, texts

        for _ in range(60):
            reads = [asyncio.create_task(read(f"s{chance.randrange(10)}")) for _ in range(50)]
            await asyncio.sleep(chance.uniform(0, 0.004))
            cancelled += sum(task.cancel() for task in chance.sample(reads, 25))
            results = await asyncio.gather(*reads, return_exceptions=True)
            assert {type(result) for result in results} <= {type(None), asyncio.CancelledError}, results
        assert cancelled > 500
        await asyncio.gather(*(read(f"s{number % 10}") for number in range(100)))


async def test_f24_connections_whose_calls_were_cancelled_answer_all_later_calls(
    redis_url: str, proxy: FaultProxy
) -> None:
    client = connect(proxy.url, max_connections=4, socket_timeout_s=60)
    for number in range(100):
        calls = [asyncio.create_task(client.echo(str(number))) for _ in range(8)]
        await asyncio.sleep(0.001 * (number % 7))
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
    answers = await asyncio.gather(*(client.echo(f"{number}") for number in range(40)))
    assert answers == [f"{number}".encode() for number in range(40)]
    await client.aclose()


async def test_f22_the_outcome_of_a_command_without_a_reply_is_an_error_never_a_guess(
    redis_url: str, proxy: FaultProxy
) -> None:
    """Nothing is repeated below the one who knows whether it may be."""
    proxy.drop_reply(lambda command: command[0] == b"INCRBY")
    client = connect(proxy.url, max_connections=1, socket_timeout_s=5)
    with pytest.raises((RedisConnectionError, RedisError)):
        await client.incr("n")
    assert await client.get("n") == b"1"
    await client.aclose()
