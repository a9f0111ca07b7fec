"""An agent asks a person through real processes, all of which are replaced before the person answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from tests.support.job_viewer import JobViewer
from tests.support.process import Gateway, Process, Processes, until

LEASE = {"HOLDFAST_LEASE_SECONDS": "1", "HOLDFAST_AGENTS": "examples.ask_a_person"}
JOB = "/v1/sessions/s/jobs"


class Deployment:
    """A gateway and a worker that offers the example. Both can be replaced, the gateway at its address."""

    def __init__(self, redis_url: str, processes: Processes) -> None:
        self._redis_url = redis_url
        self._processes = processes
        self.gateway: Gateway = processes.gateway(redis_url)
        self.worker: Process = processes.worker(redis_url, **LEASE)
        self.client = httpx2.AsyncClient(base_url=self.gateway.url, trust_env=False)

    async def replace(self, *, violently: bool) -> None:
        for process in (self.gateway, self.worker):
            process.kill() if violently else process.terminate()
        await self.gateway.wait()
        await self.worker.wait()
        port = int(self.gateway.url.rpartition(":")[2])
        self.gateway = self._processes.gateway(self._redis_url, port=port)
        self.worker = self._processes.worker(self._redis_url, **LEASE)
        await self.gateway.until_ready()

    async def post(self, agent: str, **options: Any) -> str:
        """Queue a job once its agent is on offer. Answers the job's id."""
        await self.gateway.until_ready()
        body = {"agent": agent, "input": "hi", "options": options}

        async def accepted() -> bool:
            self.posted = await self.client.post(JOB, json=body)
            return self.posted.status_code == 202

        await until(accepted, describe=self.worker.describe)
        return str(self.posted.json()["job_id"])

    async def until_status(self, job_id: str, status: str) -> None:
        async def reached() -> bool:
            return bool((await self.client.get(f"{JOB}/{job_id}")).json()["status"] == status)

        await until(reached, describe=self.worker.describe)

    async def answer(self, job_id: str, value: Any) -> tuple[int, str | None]:
        """Status and code."""
        answer = await self.client.post(f"{JOB}/{job_id}/answer", json={"value": value})
        return answer.status_code, answer.json().get("code")


@pytest.fixture
async def deployment(redis_url: str, processes: Processes) -> AsyncIterator[Deployment]:
    deployment = Deployment(redis_url, processes)
    yield deployment
    await deployment.client.aclose()


@pytest.mark.parametrize("violently", [False, True], ids=["stopped", "killed"])
async def test_a_question_outlives_gateway_and_worker_and_is_asked_and_answered_once(
    deployment: Deployment, violently: bool
) -> None:
    job_id = await deployment.post("scripted", ask="Go on?", tokens=5, interval_ms=1)
    viewer = JobViewer([deployment.gateway.url], f"{JOB}/{job_id}/events")
    watching = asyncio.create_task(viewer.watch())
    await deployment.until_status(job_id, "waiting")
    await deployment.replace(violently=violently)
    await deployment.until_status(job_id, "waiting")

    assert await deployment.answer(job_id, {"yes": True}) == (202, None)
    assert await deployment.answer(job_id, "no") == (409, "question_answered")
    await asyncio.wait_for(watching, 30)
    assert await deployment.answer(job_id, "no") == (409, "question_answered")
    events = viewer.kept
    assert viewer.kinds == ["job.started", "question.asked", "question.answered", "text.delta", "job.completed"]
    asked, answered = events[1:3]
    assert answered["question_id"] == asked["question_id"]
    assert (asked["prompt"], answered["value"]) == ("Go on?", {"yes": True})
    assert viewer.said == "w0 w1 w2 w3 w4 "


async def test_an_agent_of_ones_own_goes_on_with_its_answers_over_two_replacements(deployment: Deployment) -> None:
    job_id = await deployment.post("ask_a_person")
    viewer = JobViewer([deployment.gateway.url], f"{JOB}/{job_id}/events")
    watching = asyncio.create_task(viewer.watch())
    await deployment.until_status(job_id, "waiting")
    await deployment.replace(violently=False)
    assert (await deployment.answer(job_id, {"when": "now", "guests": 4}))[0] == 422
    assert (await deployment.answer(job_id, {"when": "tomorrow", "guests": 4}))[0] == 202

    async def asked_twice() -> bool:
        return viewer.kinds.count("question.asked") == 2

    await until(asked_twice, describe=deployment.worker.describe)
    await deployment.until_status(job_id, "waiting")
    await deployment.replace(violently=False)
    assert (await deployment.answer(job_id, value=True))[0] == 202
    await asyncio.wait_for(watching, 30)
    events = viewer.kept
    assert viewer.kinds == [
        "job.started", "text.delta", "question.asked", "question.answered", "text.delta",
        "question.asked", "question.answered", "text.delta", "job.completed",
    ]  # fmt: skip
    assert viewer.said == "I can book that table. A table inside for 4, tomorrow. Done."
    assert events[-1]["result"] == {"booked": True, "when": "tomorrow", "guests": 4, "outside": False}
