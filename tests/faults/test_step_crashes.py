"""An agent that records steps, whose workers die and freeze: no finished step is run again or discarded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest
from holdfast.shared.failpoints import EXIT_CODE
from holdfast.shared.ids import ORIGIN, EventId

from tests.faults.test_crashes import met
from tests.support.fault_agents import RUNS, climbed
from tests.support.job_viewer import JobViewer
from tests.support.process import Gateway, Process, Processes, until
from tests.support.steps import discarded_steps
from tests.support.watcher import dismiss
from tests.support.workers import Client

STEPS = 4
ENV = {
    "HOLDFAST_AGENTS": "tests.support.fault_agents",
    "HOLDFAST_LEASE_SECONDS": "1",
    "HOLDFAST_LOG_FORMAT": "json",
}
POINTS = {
    "after_claim": 1,
    "before_append": 9,
    "after_append_before_ack": 14,
    "before_step_record": 3,
    "after_step_record": 3,
    "after_agent_before_finish": 1,
}


class Stage:
    """A database of its own with one job, whose first worker meets its failpoint."""

    def __init__(self, redis_url: str, number: int, point: str) -> None:
        self.point = point
        self.url = f"{redis_url.rpartition('/')[0]}/{number}"
        self.client = Client(self.url)
        self.worker: Process | None = None

    async def start(self, processes: Processes, act: str) -> None:
        self.worker = processes.worker(self.url, **ENV, HOLDFAST_FAILPOINTS=f"{self.point}={act}@{POINTS[self.point]}")
        await self.client.offered("climbs")
        await self.client.post(agent="climbs", options={"steps": STEPS, "interval_ms": 5})

    async def verdict(self) -> None:
        client = self.client
        assert (await client.end())["type"] == "job.completed", self.point
        await as_one_attempt(client, self.point)
        found = sorted(line.decode() for line in await client.log_redis.smembers(f"{RUNS}j1"))
        assert [line for line in found if line.endswith(" 1")] == [], self.point
        assert STEPS <= len(found) <= STEPS + 1, self.point  # one may have been cut before it was recorded
        assert (await client.job()).usage["input_tokens"] == STEPS, self.point


async def as_one_attempt(client: Client, why: str = "") -> None:
    """Whoever looks in the end has just what a single attempt would have given him."""
    kept = await client.kept()
    for agent, text in climbed(STEPS).items():
        said = [event["text"] for event in kept if event["type"] == "text.delta" and event.get("agent") == agent]
        assert "".join(said) == text, why
    sections = [(event["title"], event["index"]) for event in kept if event["type"] == "section.started"]
    titles = [f"{kind} {number}" for number in range(STEPS) for kind in ("Step", "Rest")]
    assert sections == [(title, index) for index, title in enumerate(titles)], why
    calls = [event["call_id"] for event in kept if event["type"] == "tool.result"]
    assert calls == [f"call-{number}" for number in range(STEPS)], why
    assert discarded_steps(await client.entries()) == [], why


@pytest.fixture
async def stages(redis_url: str) -> AsyncIterator[list[Stage]]:
    stages = [Stage(redis_url, number, point) for number, point in enumerate(POINTS, 1)]
    yield stages
    for stage in stages:
        await stage.client.close()


@pytest.mark.parametrize("act", ["exit", "stop"])
async def test_f06_a_worker_that_dies_or_freezes_anywhere_takes_no_finished_step_along(
    stages: list[Stage], processes: Processes, act: str
) -> None:
    await asyncio.gather(*(stage.start(processes, act) for stage in stages))
    for stage in stages:
        assert stage.worker is not None
        await until(lambda worker=stage.worker: met(worker, act))  # type: ignore[misc]
        processes.worker(stage.url, **ENV)
    await asyncio.gather(*(stage.verdict() for stage in stages))
    for stage in stages if act == "stop" else ():
        assert stage.worker is not None
        stage.worker.cont()
        await stage.worker.until_output("job lost")
        await stage.verdict()


async def test_f06_the_last_attempt_goes_on_in_a_process_of_its_own(
    redis_url: str, client: Client, processes: Processes
) -> None:
    env = ENV | {"HOLDFAST_MAX_ATTEMPTS": "2"}
    first = processes.worker(redis_url, **env, HOLDFAST_FAILPOINTS="after_step_record=exit@4")
    await client.offered("climbs")
    await client.post(agent="climbs", options={"steps": STEPS, "interval_ms": 5})
    assert await first.wait() == EXIT_CODE
    processes.worker(redis_url, **env)
    assert (await client.end())["result"] == {"attempt": 2}
    await as_one_attempt(client)
    assert len(await client.log_redis.smembers(f"{RUNS}j1")) == STEPS


async def _has_sections(client: Client, count: int) -> bool:
    """Whether the job has begun so many sections in all its attempts, or has ended."""
    found = await client.log.between("s", ORIGIN, EventId(2**53, 0), 10_000)
    kinds = [entry.kind for entry in found[0]]
    return kinds.count("section.started") >= count or "job.completed" in kinds


@pytest.mark.timeout(120)
async def test_f07_viewers_that_reconnect_have_the_same_text_over_many_takeovers(
    redis_url: str, client: Client, processes: Processes
) -> None:
    gateways: list[Gateway] = [processes.gateway(redis_url) for _ in range(2)]
    for gateway in gateways:
        await gateway.until_ready()
    env = ENV | {"HOLDFAST_GRACE_SECONDS": "0.01"}
    worker = processes.worker(redis_url, **env)
    await client.offered("climbs")
    await client.post(agent="climbs", options={"steps": STEPS, "interval_ms": 40})
    path = "/v1/sessions/s/jobs/j1/events"
    urls = [gateway.url for gateway in gateways]
    viewers = [JobViewer(urls, path), JobViewer(urls, f"{path}?raw=true"), JobViewer(urls, path), JobViewer(urls, path)]
    cuts: list[tuple[int, ...]] = [(), (), tuple(range(1, 40)), (3,) * 60]
    watching = [asyncio.create_task(viewer.watch(cut_after=cut)) for viewer, cut in zip(viewers, cuts, strict=True)]
    try:
        for number in range(4):
            await until(partial(_has_sections, client, 2 * number + 2))
            successor = processes.worker(redis_url, **env)
            worker.terminate()
            worker = successor
        assert (await client.end())["type"] == "job.completed"
        await asyncio.wait_for(asyncio.gather(*watching), 60)
    finally:
        await dismiss(watching)
    await as_one_attempt(client)
    for viewer in viewers:
        for agent, text in climbed(STEPS).items():
            said = [
                event["text"] for event in viewer.kept if event["type"] == "text.delta" and event.get("agent") == agent
            ]
            assert "".join(said) == text
