"""Runs of the real clients of AG-UI with a gateway and a worker: HttpAgent, TanStack AI, CopilotKit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.support.ag_ui import AgUiClient, ag_ui_clients, shown, shown_of, text_of
from tests.support.dialect_agents import strides, travels
from tests.support.served import Served, served
from tests.support.workers import Client, worker_on

ALL = ["http", "tanstack", "copilotkit"]
Clients = Callable[..., Awaitable[AgUiClient]]


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    async with served(redis_url, ping_seconds=0.2) as gateway, worker_on(redis_url, [travels, strides]):
        client = Client(redis_url)
        await client.offered("scripted", "travels", "strides")
        await client.close()
        yield gateway


@pytest.fixture
async def jobs(redis_url: str) -> AsyncIterator[Client]:
    client = Client(redis_url)
    yield client
    await client.close()


@pytest.fixture
async def clients() -> AsyncIterator[Clients]:
    async with ag_ui_clients() as clients:
        yield clients


def props(**options: Any) -> dict[str, Any]:
    return {"options": options}


async def job_ids(gateway: Served, session: str) -> list[str]:
    response = await gateway.client.get(f"/v1/sessions/{session}/jobs")
    return [job["job_id"] for job in response.json()["jobs"]][::-1]


@pytest.mark.parametrize("kind", ALL)
async def test_a_run_ends_equal_to_its_log(gateway: Served, jobs: Client, clients: Clients, kind: str) -> None:
    client = await clients(kind, gateway.url, "t1", agent="travels")
    await client.do("send", text="Plan a trip")
    asked = await client.ended()
    assert asked["error"] is None
    [interrupt] = asked["interrupts"]
    assert interrupt["message"] == "Which day?"
    await client.do("answer", value="Monday")
    ended = await client.shows(lambda state: not state["open"] and "w29 " in text_of(state))
    assert ended["error"] is None
    [job_id] = await job_ids(gateway, "t1")
    assert shown(ended) == shown_of(await jobs.kept("t1", job_id))
    assert ended["events"].count("RUN_STARTED") == 2
    assert ended["events"][-1] == "RUN_FINISHED"


@pytest.mark.parametrize("kind", ALL)
async def test_a_stop_ends_the_run_of_every_client(gateway: Served, jobs: Client, clients: Clients, kind: str) -> None:
    one = await clients(kind, gateway.url, "t1")
    await one.do("send", text="Hello", props=props(tokens=10_000))
    await one.shows(lambda state: "w3 " in text_of(state))
    other = await clients(kind, gateway.url, "t1")
    await other.do("join")
    await other.shows(lambda state: "w9 " in text_of(state))
    await one.do("stop")
    [job_id] = await job_ids(gateway, "t1")
    for client in (one, other):
        ended = await client.ended()
        assert ended["error"] == "Cancelled by user"
        assert text_of(ended) == await jobs.said("t1", job_id)
    assert (await jobs.job("t1", job_id)).status == "cancelled"


@pytest.mark.parametrize("kind", ALL)
async def test_a_job_of_another_dialect_can_be_read(gateway: Served, jobs: Client, clients: Clients, kind: str) -> None:
    body = {"agent": "scripted", "input": "hi", "options": {"tokens": 60, "tools": 1, "interval_ms": 30}}
    job_id = (await gateway.client.post("/v1/sessions/t1/jobs", json=body)).json()["job_id"]
    client = await clients(kind, gateway.url, "t1", agent="travels", transport="single")
    await client.do("join")
    ended = await client.shows(lambda state: not state["open"] and "w59 " in text_of(state))
    assert shown(ended) == shown_of(await jobs.kept("t1", job_id))
    assert [message["role"] for message in ended["messages"]].count("user") == 1


@pytest.mark.parametrize("kind", ALL)
async def test_a_conversation_goes_on(gateway: Served, jobs: Client, clients: Clients, kind: str) -> None:
    client = await clients(kind, gateway.url, "t1")
    ended: dict[str, Any] = {}
    for number in (1, 2):
        await client.do("send", text=f"Hello {number}", props=props(tokens=2, tools=1))
        ended = await client.shows(lambda state, n=number: not state["open"] and text_of(state) == "w0 w1 " * n)  # type: ignore[misc]
        assert ended["error"] is None
    inputs = [event["input"] for event in await jobs.events("t1") if event["type"] == "job.started"]
    assert inputs == ["Hello 1", "Hello 2"]
    tools = [call["id"] for message in ended["messages"] for call in message.get("toolCalls", ())]
    assert len(set(tools)) == len(tools)


@pytest.mark.parametrize("kind", ["http", "tanstack"])
async def test_a_failed_job_is_an_error(gateway: Served, clients: Clients, kind: str) -> None:
    client = await clients(kind, gateway.url, "t1")
    await client.do("send", text="Hello", props=props(tokens=5, fail_at=3))
    ended = await client.ended()
    assert ended["events"][-1] == "RUN_ERROR"
    assert text_of(ended) == "w0 w1 w2 "


@pytest.mark.parametrize("kind", ALL)
async def test_a_page_that_is_opened_shows_the_open_question(
    gateway: Served, jobs: Client, clients: Clients, kind: str
) -> None:
    first = await clients(kind, gateway.url, "t1", agent="travels")
    await first.do("send", text="Plan a trip", props=props(tokens=3))
    await first.ended()
    await first.kill()
    second = await clients(kind, gateway.url, "t1", agent="travels")
    await second.do("join")
    asked = await second.shows(lambda state: bool(state["interrupts"]) and not state["open"])
    assert [message["role"] for message in asked["messages"]].count("user") == 1
    await second.do("answer", value="Monday")
    ended = await second.shows(lambda state: not state["open"] and "w2 " in text_of(state))
    assert ended["error"] is None
    [job_id] = await job_ids(gateway, "t1")
    assert shown(ended) == shown_of(await jobs.kept("t1", job_id))
