"""Clients of one job are cut, drained, refreshed and taken over side by side. They end equal to the log, never early.

tests/faults/test_ai_sdk.py and test_ag_ui.py have those of the AI SDK and AG-UI."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx2
import pytest

from tests.support.completions import completions
from tests.support.fault_proxy import FaultProxy, port_of
from tests.support.followers import LIBRARIES, OPENAI, WEBSOCKET, Followers, JobAt, Shown, shown_by
from tests.support.gated import THOUGHTS, Gate, told
from tests.support.process import Gateway, Process, Processes
from tests.support.workers import Client

AGENTS = {"HOLDFAST_AGENTS": "tests.support.gated", "HOLDFAST_LEASE_SECONDS": "1"}

CLIENTS = OPENAI | WEBSOCKET | LIBRARIES


@dataclass
class Deployment:
    """Two gateways behind one address, and a worker that may be killed."""

    processes: Processes
    redis_url: str
    gateways: list[Gateway]
    worker: Process
    proxy: FaultProxy
    jobs: Client
    gate: Gate

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.proxy.port}"

    async def submit(self) -> JobAt:
        """Start a job."""
        async with httpx2.AsyncClient(base_url=self.gateways[1].url, trust_env=False) as client:
            response = await client.post("/v1/sessions/s/jobs", json={"agent": "gated", "input": str(self.gate.path)})
        return JobAt(self.url, "s", response.json()["job_id"])

    async def job(self) -> JobAt:
        """Return the only job."""
        async with httpx2.AsyncClient(base_url=self.gateways[1].url, trust_env=False) as client:
            [session] = (await client.get("/v1/sessions")).json()["sessions"]
        return JobAt(self.url, session["session_id"], session["job_id"])

    async def answer(self, job: JobAt) -> None:
        """Answer the question of the job, once it is asked."""
        path = f"/v1/sessions/{job.session_id}/jobs/{job.job_id}"
        await self.jobs.until(job.session_id, job.job_id, lambda state: state.status == "waiting")
        async with httpx2.AsyncClient(base_url=self.gateways[1].url, trust_env=False) as client:
            assert (await client.post(f"{path}/answer", json={"value": "Faro"})).status_code == 202

    async def drain(self) -> None:
        """Tell the gateway to stop; the other one serves new connections already."""
        self.proxy.target = port_of(self.gateways[1].url)
        self.gateways[0].terminate()
        assert await self.gateways[0].wait() == 0

    async def take_over(self) -> None:
        dead, self.worker = self.worker, self.processes.worker(self.redis_url, **AGENTS)
        dead.kill()

    async def log(self, job: JobAt) -> Shown:
        entries = await self.jobs.entries(job.session_id)
        return shown_by(await self.jobs.kept(job.session_id, job.job_id), [str(entry.id) for entry in entries])


@pytest.fixture
async def deployment(processes: Processes, redis_url: str, client: Client, tmp_path: Path) -> AsyncIterator[Deployment]:
    gateways = [processes.gateway(redis_url) for _ in range(2)]
    worker = processes.worker(redis_url, **AGENTS)
    for gateway in gateways:
        await gateway.until_ready()
    await client.offered("gated")
    async with FaultProxy(port_of(gateways[0].url)) as proxy:
        yield Deployment(processes, redis_url, gateways, worker, proxy, client, Gate(tmp_path / "gate"))


async def test_clients_that_everything_happens_to_end_equal_to_the_log(deployment: Deployment) -> None:
    job = await deployment.submit()
    async with Followers(job, CLIENTS) as clients:
        await clients.show("Looking. ")
        await deployment.answer(job)
        deployment.gate.open(10)
        await clients.show(" 9 ")
        deployment.proxy.cut()
        deployment.gate.open(20)
        await clients.show(" 19 ")
        await deployment.drain()
        deployment.gate.open(30)
        await clients.show(" 29 ")
        await clients.refresh()
        deployment.gate.open(40)
        await clients.show(" 39 ")
        await deployment.take_over()
        await deployment.jobs.until(job.session_id, job.job_id, lambda state: state.attempt == 2)
        deployment.gate.open()
        log = await ended_equal_to_the_log(deployment, job, clients)
    assert (log.text, log.reasoning, log.end, len(log.tools)) == (told(), THOUGHTS, "completed", 2)


async def test_a_chat_completion_that_is_cut_drained_or_taken_over_is_an_error(deployment: Deployment) -> None:
    """It cannot resume, and must not look complete."""
    async with Followers(JobAt(deployment.url, "", ""), completions(deployment.gate.path)) as clients:
        deployment.gate.open(5)
        await clients.show(" 4 ")
        deployment.proxy.cut()
        assert await ends(clients) == {"cut"}
        await clients.refresh()
        await clients.show(" 4 ")
        await deployment.drain()
        assert await ends(clients) == {"cut"}
        await clients.refresh()
        await clients.show(" 4 ")
        await deployment.take_over()
        assert await ends(clients) == {"attempt_reset"}


async def ends(clients: Followers) -> set[str]:
    return {shown.end for shown in (await clients.ended()).values()}


async def ended_equal_to_the_log(deployment: Deployment, job: JobAt, clients: Followers) -> Shown:
    ended = await clients.ended()
    log = await deployment.log(job)
    for name, shown in ended.items():
        assert shown == (log if shown.ids is not None else replace(log, ids=None)), name
    return log
