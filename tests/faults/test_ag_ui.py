"""Runs of AG-UI's clients are cut, drained, refreshed and taken over. They end equal to the log, never too soon."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.ag_ui import AgUiClient, ag_ui_clients, shown, shown_of, text_of
from tests.support.fault_proxy import FaultProxy
from tests.support.process import Gateway, Process, Processes
from tests.support.workers import Client

ALL = ["http", "tanstack", "copilotkit"]
AGENTS = {"HOLDFAST_AGENTS": "tests.support.dialect_agents", "HOLDFAST_LEASE_SECONDS": "1"}


@dataclass
class Deployment:
    """Two gateways behind one address, one worker that may be killed, and clients of one kind."""

    processes: Processes
    redis_url: str
    gateways: list[Gateway]
    worker: Process
    proxy: FaultProxy
    jobs: Client
    start: Callable[..., Awaitable[AgUiClient]]
    kind: str

    async def client(self, agent: str) -> AgUiClient:
        return await self.start(self.kind, f"http://127.0.0.1:{self.proxy.port}", "t1", agent=agent)

    async def cut(self) -> None:
        self.proxy.cut()

    async def drain(self) -> None:
        """Tell the gateway to stop; the other one serves new connections already."""
        self.proxy.target = int(self.gateways[1].url.rpartition(":")[2])
        self.gateways[0].terminate()
        assert await self.gateways[0].wait() == 0

    async def take_over(self) -> None:
        dead, self.worker = self.worker, self.processes.worker(self.redis_url, **AGENTS)
        dead.kill()

    async def job_id(self) -> str:
        [job] = (await self.jobs.sessions.jobs("t1", None, 10)).jobs
        return job.job_id

    async def attempt(self, number: int) -> None:
        await self.jobs.until("t1", await self.job_id(), lambda state: state.attempt == number)


@pytest.fixture(params=ALL)
async def deployment(request: pytest.FixtureRequest, processes: Processes, redis_url: str) -> AsyncIterator[Deployment]:
    gateways = [processes.gateway(redis_url) for _ in range(2)]
    worker = processes.worker(redis_url, **AGENTS)
    for gateway in gateways:
        await gateway.until_ready()
    jobs = Client(redis_url)
    await jobs.offered("travels", "strides")
    async with FaultProxy(int(gateways[0].url.rpartition(":")[2])) as proxy, ag_ui_clients() as start:
        yield Deployment(processes, redis_url, gateways, worker, proxy, jobs, start, request.param)
    await jobs.close()


async def test_a_run_that_everything_happens_to_ends_equal_to_its_log(deployment: Deployment) -> None:
    client = await deployment.client("travels")
    await client.do("send", text="Plan a trip", props={"options": {"tokens": 90, "interval_ms": 60}})
    await client.shows(lambda state: bool(state["interrupts"]) and not state["open"])
    await client.do("answer", value="Monday")
    for text, fault in (("w3 ", deployment.cut), ("w8 ", deployment.drain), ("w13 ", deployment.take_over)):
        state = await client.settled(text)
        assert state["open"], state
        await fault()
    await client.settled("w25 ")
    await deployment.attempt(2)
    await client.kill()
    client = await deployment.client("travels")
    await client.do("join")
    state = await client.settled("w35 ")
    assert state["open"], state
    await ends_equal_to_the_log(deployment, client)


@pytest.mark.parametrize("deployment", ["http", "tanstack"], indirect=True)
async def test_a_run_that_goes_on_behind_its_last_step_is_taken_over_without_a_cut(deployment: Deployment) -> None:
    client = await deployment.client("strides")
    await client.do("send", text="Go", props={"options": {"steps": 3, "tokens": 25, "interval_ms": 30}})
    await client.shows(lambda state: "w1.5 " in text_of(state))
    await deployment.take_over()
    await deployment.attempt(2)
    state = await ends_equal_to_the_log(deployment, client)
    assert state["events"].count("RUN_STARTED") == 1
    assert "MESSAGES_SNAPSHOT" in state["events"]


async def ends_equal_to_the_log(deployment: Deployment, client: AgUiClient) -> dict[str, Any]:
    state = await client.settled()
    assert state["error"] is None
    job_id = await deployment.job_id()
    assert (await deployment.jobs.end("t1", job_id))["type"] == "job.completed"
    assert [message["role"] for message in state["messages"]].count("user") == 1
    assert shown(state) == shown_of(await deployment.jobs.kept("t1", job_id))
    return state
