"""Workers die at every step, by themselves and by their jobs: each job is told honestly and ends once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from holdfast.shared.failpoints import EXIT_CODE
from holdfast.shared.keys import ENTRIES, LANES, READY

from tests.support.history import History, final_log
from tests.support.process import Process, Processes, until
from tests.support.redis_server import RedisServer
from tests.support.scene import words
from tests.support.workers import Client, worker_on

LEASE = {"HOLDFAST_LEASE_SECONDS": "1", "HOLDFAST_LOG_FORMAT": "json", "HOLDFAST_BATCH_MS": "0"}
POINTS = {
    "before_claim": 1,
    "after_claim": 1,
    "before_append": 4,
    "after_append_before_ack": 4,
    "after_agent_before_finish": 1,
    "after_finish_before_next_head": 1,
    "after_next_head_before_drop": 1,
}


class Stage:
    """A database of its own with one session of two jobs, and a worker that meets its failpoint in the first."""

    def __init__(self, redis_url: str, log_url: str, number: int, point: str) -> None:
        self.point = point
        self.urls = {name: f"{url.rpartition('/')[0]}/{number}" for name, url in (("q", redis_url), ("l", log_url))}
        self.client = Client(self.urls["q"], self.urls["l"])
        self.history = History()
        self.worker: Process | None = None

    def start(self, processes: Processes, act: str) -> None:
        armed = {"HOLDFAST_FAILPOINTS": f"{self.point}={act}@{POINTS[self.point]}"}
        log = {"HOLDFAST_LOG_REDIS_URL": self.urls["l"]}
        self.worker = processes.worker(self.urls["q"], **LEASE, **armed, **log)

    async def post(self) -> None:
        await self.client.offered("scripted")
        for job in ("j1", "j2"):
            await self.client.post("s", job, options={"tokens": 12, "interval_ms": 10})
            self.history.accepted.add(("s", job))

    async def verdict(self) -> None:
        for job in ("j1", "j2"):
            assert (await self.client.end("s", job))["type"] == "job.completed", self.point
            assert await self.client.said("s", job) == words(12), self.point
        assert self.history.violations({"s": await final_log(self.client.log, "s")}) == [], self.point
        begun_again = self.point.startswith(("after_claim", "before_append", "after_append", "after_agent"))
        assert (await self.client.job("s", "j1")).attempt == 1 + begun_again, self.point
        await self.client.empty()


@pytest.fixture
async def stages(redis_url: str, redis_server: Callable[[], RedisServer]) -> AsyncIterator[list[Stage]]:
    """One for each failpoint of a worker; queue and logs stand on two servers."""
    log_url = redis_server().url
    stages = [Stage(redis_url, log_url, number, point) for number, point in enumerate(POINTS, 1)]
    yield stages
    for stage in stages:
        await stage.client.close()


@pytest.mark.parametrize("act", ["exit", "stop"])
async def test_f06_f61_a_worker_that_dies_or_freezes_at_any_step_costs_no_event_and_each_job_ends_once(
    stages: list[Stage], processes: Processes, act: str
) -> None:
    for stage in stages:
        stage.start(processes, act)
    await asyncio.gather(*(stage.post() for stage in stages))
    async with AsyncExitStack() as stack:
        for stage in stages:
            assert stage.worker is not None
            await until(lambda worker=stage.worker: met(worker, act))  # type: ignore[misc]
            lease = worker_on(stage.urls["q"], log_redis_url=stage.urls["l"], lease_seconds=1)
            await stack.enter_async_context(lease)
        await asyncio.gather(*(stage.verdict() for stage in stages))
        if act == "stop":
            await asyncio.gather(*(_wake(stage) for stage in stages))


def met(worker: Process, act: str) -> bool:
    """Whether the worker has met its failpoint."""
    if act == "exit":
        return not worker.running and worker.returncode == EXIT_CODE
    return Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


async def _wake(stage: Stage) -> None:
    """F08: a zombie that wakes up writes nothing, and goes on to work."""
    before = await stage.client.entries()
    assert stage.worker is not None
    stage.worker.cont()
    workers = 2

    async def back() -> bool:
        return len(await stage.client.leases.workers()) == workers

    await until(back)
    await stage.client.post("t", "j1", options={"tokens": 1})
    await stage.client.end("t")
    await stage.client.empty()
    assert await stage.client.entries() == before
    assert stage.worker.running


@pytest.mark.parametrize("agent", ["exits", "crashes", "devours"])
async def test_f12_a_job_that_kills_its_process_ends_as_poisoned(
    redis_url: str, client: Client, processes: Processes, agent: str
) -> None:
    env = LEASE | {"HOLDFAST_AGENTS": "tests.support.fault_agents", "HOLDFAST_MAX_ATTEMPTS": "2"}
    for _ in range(3):
        processes.worker(redis_url, **env)
    await client.offered(agent)
    await client.post(agent=agent)
    assert (await client.end())["error"]["code"] == "poisoned"
    assert (await client.kinds()).count("job.started") == 2
    assert await client.said() == "so far "
    await client.post("t", options={"tokens": 1})
    assert (await client.end("t"))["type"] == "job.completed"
    await client.empty()


async def test_f13_a_job_whose_agent_is_gone_from_the_code_after_its_first_attempt_expires(
    redis_url: str, client: Client
) -> None:
    """It was put back for ever: nobody could run it, and only a job that had never begun could expire."""

    async def departed(run: object) -> None:
        await asyncio.Event().wait()

    async with worker_on(redis_url, [departed]):
        await client.offered("departed")
        await client.post(agent="departed")
        await client.running()
    async with worker_on(redis_url, queue_seconds=1, lease_seconds=0.5):
        assert (await client.end())["error"]["code"] == "expired"
        await client.empty()


async def test_f13_an_unreadable_entry_ends_its_job_after_the_wait(redis_url: str, client: Client) -> None:
    await client.offered_agents.offer({"scripted": {}})
    await client.post("s", "j1")
    await client.redis.hset(ENTRIES, "s/j1", b"\x80 no payload")
    await client.redis.zadd(READY + "*", {"s/j1": 0})
    await client.redis.zrem(READY + "scripted", "s/j1")
    await client.redis.sadd(LANES, "*")
    async with worker_on(redis_url, queue_seconds=1, lease_seconds=0.5):
        assert (await client.end())["type"] in ("job.failed", "job.completed")
        await client.empty()


async def test_f11_an_entry_that_is_handed_out_twice_by_mistake_still_gives_one_end(
    redis_url: str, client: Client
) -> None:
    async with worker_on(redis_url), worker_on(redis_url):
        await client.offered("scripted")
        await client.post(options={"tokens": 60, "interval_ms": 20})
        await client.spoke()
        await client.redis.zadd(READY + "scripted", {"s/j1": 0})
        await client.redis.sadd(LANES, "scripted")
        await client.redis.lpush("holdfast:queue:wake", "1")
        assert (await client.end())["type"] == "job.completed"
        assert await client.said() == words(60)
        assert History(accepted={("s", "j1")}).violations({"s": await final_log(client.log, "s")}) == []
        await client.empty()


@pytest.mark.timeout(180)
async def test_f60_those_who_ran_beside_a_job_that_kills_every_worker_complete(
    redis_url: str, client: Client, processes: Processes
) -> None:
    env = LEASE | {"HOLDFAST_AGENTS": "tests.support.fault_agents", "HOLDFAST_MAX_ATTEMPTS": "2"}
    for _ in range(2):
        processes.worker(redis_url, **env)
    await client.offered("bystander", "exits")
    sessions = [f"s{number}" for number in range(10)]
    for session in sessions:
        await client.post(session, agent="bystander")
    await client.post("poison", options={"tokens": 10, "interval_ms": 20, "crash_at": 10, "crash_always": True})
    assert (await client.end("poison"))["error"]["code"] == "poisoned"
    assert sum(worker.running for worker in processes._started) == 1
    assert {(await client.end(session))["type"] for session in sessions} == {"job.completed"}
