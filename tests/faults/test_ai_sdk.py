"""Chats of the real AI SDK are cut, drained, refreshed and taken over. They end equal to the log, never too soon."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from tests.support.ai_sdk import AiChat, ai_chats, parts_of, shown, shown_of, text_of
from tests.support.fault_proxy import FaultProxy
from tests.support.process import Gateway, Process, Processes
from tests.support.workers import Client

ALL = ["v6", "v7", "workflow"]
AGENTS = {"HOLDFAST_AGENTS": "tests.support.dialect_agents", "HOLDFAST_LEASE_SECONDS": "1"}


@dataclass
class Deployment:
    """Two gateways behind one address, one worker that may be killed, and chats of one kind."""

    processes: Processes
    redis_url: str
    gateways: list[Gateway]
    worker: Process
    proxy: FaultProxy
    jobs: Client
    start: Callable[..., Awaitable[AiChat]]
    sdk: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.proxy.port}"

    async def chat(self, agent: str, **options: Any) -> AiChat:
        return await self.start(self.sdk, self.url, "c1", agent=agent, sendId=True, **options)

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

    async def attempt(self, session: str, job: str, number: int) -> None:
        await self.jobs.until(session, job, lambda state: state.attempt == number)


@pytest.fixture(params=ALL)
async def deployment(request: pytest.FixtureRequest, processes: Processes, redis_url: str) -> AsyncIterator[Deployment]:
    gateways = [processes.gateway(redis_url) for _ in range(2)]
    worker = processes.worker(redis_url, **AGENTS)
    for gateway in gateways:
        await gateway.until_ready()
    jobs = Client(redis_url)
    await jobs.offered("travels", "strides")
    async with FaultProxy(int(gateways[0].url.rpartition(":")[2])) as proxy, ai_chats() as start:
        yield Deployment(processes, redis_url, gateways, worker, proxy, jobs, start, request.param)
    await jobs.close()


def answer(state: dict[str, Any]) -> dict[str, Any]:
    """Return the assistant message, if there is one yet."""
    last: dict[str, Any] = (state["messages"] or [{"role": "user"}])[-1]
    return last if last["role"] == "assistant" else {"role": "assistant", "parts": []}


async def settled(chat: AiChat, text: str = "no text") -> dict[str, Any]:
    """Wait until the answer has this text, or is complete. A chat that is cut resumes, as an application has it do."""
    while True:
        state = await chat.shows(lambda state: not state["open"] or text in text_of(answer(state)))
        if state["open"] or state["status"] != "error":
            return state
        await chat.do("resume")


async def test_a_chat_that_everything_happens_to_ends_equal_to_its_log(deployment: Deployment) -> None:
    chat = await deployment.chat("travels", body={"options": {"tokens": 200, "interval_ms": 50}})
    await chat.send("Plan a trip")
    state = await chat.shows(lambda state: bool(parts_of(answer(state), "data-question")))
    await answered(deployment, state)
    for text, fault in (
        ("w3 ", deployment.cut),
        ("w8 ", deployment.drain),
        ("w13 ", deployment.take_over),
    ):
        state = await settled(chat, text)
        assert state["open"]
        await fault()
    await settled(chat, "w40 ")
    await chat.kill()
    chat = await deployment.chat("travels", messages=state["messages"])
    await chat.do("resume")
    await ends_equal_to_the_log(deployment, chat)
    job = await deployment.jobs.job("c1", answer(await chat.do("state"))["id"])
    assert job.attempt == 2


@pytest.mark.parametrize("agent", ["travels", "strides"])
async def test_a_chat_survives_takeovers(deployment: Deployment, agent: str) -> None:
    """Of an agent that begins again, and of one that goes on behind its last step."""
    options = {"tokens": 40, "interval_ms": 30, **({"steps": 3} if agent == "strides" else {"ask": False})}
    chat = await deployment.chat(agent, body={"options": options})
    await chat.send("Go")
    for text in ("w1.5 ", "w2.5 ") if agent == "strides" else ("w5 ", "w15 "):
        state = await settled(chat, text)
        assert state["open"]
        attempt = (await deployment.jobs.job("c1", answer(state)["id"])).attempt
        await deployment.take_over()
        await deployment.attempt("c1", answer(state)["id"], attempt + 1)
    await ends_equal_to_the_log(deployment, chat)


@pytest.mark.parametrize("deployment", ["v7", "workflow"], indirect=True)
async def test_a_chat_of_version_7_is_taken_over_without_a_cut(deployment: Deployment) -> None:
    chat = await deployment.chat("travels", body={"options": {"tokens": 30, "interval_ms": 30, "ask": False}})
    await chat.send("Go")
    await chat.shows(lambda state: "w5 " in text_of(answer(state)))
    await deployment.take_over()
    ended = await chat.ended()
    assert (ended["status"], ended["error"]) == ("ready", None)
    await ends_equal_to_the_log(deployment, chat)


async def test_a_gateway_that_is_killed_cuts_the_chat(deployment: Deployment) -> None:
    chat = await deployment.chat("travels", body={"options": {"tokens": 60, "interval_ms": 30, "ask": False}})
    await chat.send("Go")
    await chat.shows(lambda state: "w5 " in text_of(answer(state)))
    dead, other = deployment.gateways
    deployment.proxy.target = int(other.url.rpartition(":")[2])
    dead.kill()
    await ends_equal_to_the_log(deployment, chat)


async def answered(deployment: Deployment, state: dict[str, Any]) -> None:
    question = parts_of(answer(state), "data-question")[0]
    url = f"{deployment.url}/v1/sessions/c1/jobs/{answer(state)['id']}/answer"
    async with httpx2.AsyncClient(trust_env=False) as client:
        response = await client.post(url, json={"value": "Monday", "question_id": question["id"]})
    assert response.status_code == 202


async def ends_equal_to_the_log(deployment: Deployment, chat: AiChat) -> None:
    state = await settled(chat)
    assert (state["status"], state["error"]) == ("ready", None)
    job_id = answer(state)["id"]
    assert (await deployment.jobs.end("c1", job_id))["type"] == "job.completed"
    assert [message["role"] for message in state["messages"]] == ["user", "assistant"]
    assert shown(answer(state)) == shown_of(await deployment.jobs.kept("c1", job_id))
