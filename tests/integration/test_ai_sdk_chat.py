"""Chats of the real AI SDK, versions 6 and 7 and the workflow transport, with a gateway and a worker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.support.ai_sdk import AiChat, ai_chats, parts_of, shown, shown_of, text_of
from tests.support.dialect_agents import strides, travels
from tests.support.scene import words
from tests.support.served import Served, served
from tests.support.workers import Client, worker_on

ALL = ["v6", "v7", "workflow"]
Chats = Callable[..., Awaitable[AiChat]]


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
async def chats() -> AsyncIterator[Chats]:
    async with ai_chats() as chats:
        yield chats


def scripted(**options: Any) -> dict[str, Any]:
    return {"body": {"options": options}}


async def job_ids(gateway: Served, session: str) -> list[str]:
    response = await gateway.client.get(f"/v1/sessions/{session}/jobs")
    return [job["job_id"] for job in response.json()["jobs"]][::-1]


@pytest.mark.parametrize("sdk", ALL)
async def test_a_job_ends_equal_to_its_log(gateway: Served, jobs: Client, chats: Chats, sdk: str) -> None:
    chat = await chats(sdk, gateway.url, "c1", agent="travels", sendId=True)
    await chat.send("Plan a trip")
    found = await chat.shows(
        lambda state: bool(state["messages"][1:] and parts_of(state["messages"][1], "data-question"))
    )
    message = found["messages"][1]
    answer = {"value": "Monday", "question_id": parts_of(message, "data-question")[0]["id"]}
    metadata = message["metadata"]
    url = f"/v1/sessions/{metadata['sessionId']}/jobs/{metadata['jobId']}/answer"
    assert (await gateway.client.post(url, json=answer)).status_code == 202
    ended = await chat.ended()
    assert (ended["status"], ended["error"]) == ("ready", None)
    message = ended["messages"][1]
    assert metadata["sessionId"] == "c1"
    assert message["id"] == metadata["jobId"]
    assert shown(message) == shown_of(await jobs.kept("c1", message["id"]))
    assert [part["url"] for part in parts_of(message, "source-url")] == ["https://example.com/rome"]
    assert message["metadata"]["usage"]["totalTokens"] == 30
    [finish] = [event for event in chat.events if event["event"] == "finish"]
    assert finish["finishReason"] == "stop"
    assert not [event for event in chat.events if event["event"] == "tool call"], "a client must not run the tools"


@pytest.mark.parametrize("sdk", ALL)
async def test_a_refreshed_page_resumes_the_running_job(gateway: Served, jobs: Client, chats: Chats, sdk: str) -> None:
    first = await chats(sdk, gateway.url, "c1", sendId=True)
    await first.send("Hello", **scripted(tokens=120, tools=2, interval_ms=30))
    seen = await first.shows(lambda state: len(state["messages"]) == 2 and "w5 " in text_of(state["messages"][1]))
    await first.kill()
    second = await chats(sdk, gateway.url, "c1", messages=seen["messages"], sendId=True)
    await second.do("resume")
    ended = await second.ended()
    assert (ended["status"], ended["error"]) == ("ready", None)
    assert [message["role"] for message in ended["messages"]] == ["user", "assistant"]
    assert text_of(ended["messages"][1]) == words(120)
    assert len(await job_ids(gateway, "c1")) == 1


@pytest.mark.parametrize("sdk", ALL)
async def test_an_empty_chat_has_nothing_to_resume(gateway: Served, chats: Chats, sdk: str) -> None:
    chat = await chats(sdk, gateway.url, "c1", sendId=True)
    await chat.do("resume")
    empty = await chat.ended()
    assert (empty["status"], empty["error"], empty["messages"]) == ("ready", None, [])


@pytest.mark.parametrize("sdk", ALL)
async def test_a_chat_that_missed_the_end_of_its_job_receives_it(gateway: Served, chats: Chats, sdk: str) -> None:
    first = await chats(sdk, gateway.url, "c1", sendId=True)
    await first.send("Hello", **scripted(tokens=60, interval_ms=50))
    seen = await first.shows(lambda state: len(state["messages"]) == 2)
    complete = (await first.ended())["messages"]
    assert complete[1]["metadata"]["status"] == "completed"
    assert "status" not in seen["messages"][1]["metadata"]
    second = await chats(sdk, gateway.url, "c1", messages=seen["messages"])
    await second.do("resume")
    assert (await second.ended())["messages"] == complete


async def test_the_workflow_transport_resumes_from_the_end(gateway: Served, jobs: Client, chats: Chats) -> None:
    first = await chats("workflow", gateway.url, "c1", sendId=True)
    await first.send("Hello", **scripted(tokens=40, interval_ms=30))
    seen = await first.shows(lambda state: len(state["messages"]) == 2 and "w5 " in text_of(state["messages"][1]))
    await first.kill()
    second = await chats("workflow", gateway.url, "c1", messages=seen["messages"], initialStartIndex=-3)
    await second.do("resume")
    ended = await second.ended()
    assert (ended["status"], ended["error"]) == ("ready", None)
    [end] = [event for event in second.events if event["event"] == "end"]
    # start, start-step, text-start, 40 deltas, text-end, data-result, finish-step, finish
    assert end["chunks"] == 47


@pytest.mark.parametrize("sdk", ALL)
async def test_a_chat_without_a_valid_session_id_has_a_session(gateway: Served, chats: Chats, sdk: str) -> None:
    chat = await chats(sdk, gateway.url, "täglich/1 ~?", sendId=True)
    await chat.send("Hello", **scripted(tokens=120, interval_ms=30))
    seen = await chat.shows(lambda state: len(state["messages"]) == 2 and "w2 " in text_of(state["messages"][1]))
    await chat.kill()
    again = await chats(sdk, gateway.url, "täglich/1 ~?", messages=seen["messages"])
    await again.do("resume")
    ended = await again.ended()
    assert text_of(ended["messages"][1]) == words(120)


@pytest.mark.parametrize("sdk", ["v6", "v7"])
async def test_the_agent_gets_only_what_is_new(gateway: Served, jobs: Client, chats: Chats, sdk: str) -> None:
    chat = await chats(sdk, gateway.url, "c1")
    for text in ("One", "Two"):
        await chat.send(text, **scripted(tokens=1))
        await chat.ended()
    ids = await job_ids(gateway, "c1")
    inputs = [event["input"] for event in await jobs.events("c1") if event["type"] == "job.started"]
    assert inputs == ["One", "Two"]
    conversation = (await gateway.client.get("/v1/sessions/c1/messages")).json()["messages"]
    assert [message["role"] for message in conversation] == ["user", "assistant"] * 2
    assert len(ids) == 2


async def test_a_new_session_gets_the_history_of_the_chat(gateway: Served, jobs: Client, chats: Chats) -> None:
    earlier = [
        {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "One"}]},
        {"id": "m2", "role": "assistant", "parts": [{"type": "step-start"}, {"type": "text", "text": "Answer"}]},
    ]
    chat = await chats("v7", gateway.url, "c1", messages=earlier)
    await chat.send("Two", **scripted(tokens=1))
    await chat.ended()
    [started] = [event for event in await jobs.events("c1") if event["type"] == "job.started"]
    assert [message["content"] for message in started["input"]["messages"]] == ["One", "Answer", "Two"]


@pytest.mark.parametrize("sdk", ["v6", "v7"])
async def test_regenerate_starts_another_job(gateway: Served, chats: Chats, sdk: str) -> None:
    chat = await chats(sdk, gateway.url, "c1", body={"options": {"tokens": 2}})
    await chat.send("Hello")
    first = await chat.ended()
    for _ in range(2):
        await chat.do("regenerate")
        again = await chat.ended()
        assert len(again["messages"]) == 2
        assert again["messages"][1]["id"] != first["messages"][1]["id"]
        assert text_of(again["messages"][1]) == words(2)
    assert len(await job_ids(gateway, "c1")) == 3


@pytest.mark.parametrize("sdk", ALL)
async def test_a_failed_job_is_an_error(gateway: Served, chats: Chats, sdk: str) -> None:
    chat = await chats(sdk, gateway.url, "c1", sendId=True)
    await chat.send("Hello", **scripted(tokens=5, fail_at=3))
    ended = await chat.ended()
    assert ended["status"] == "error"
    assert ended["error"] == ended["messages"][1]["metadata"]["error"]["message"]
    assert text_of(ended["messages"][1]) == words(3)


@pytest.mark.parametrize("sdk", ALL)
async def test_stop_ends_the_job_for_everyone(gateway: Served, jobs: Client, chats: Chats, sdk: str) -> None:
    one = await chats(sdk, gateway.url, "c1", sendId=True)
    await one.send("Hello", **scripted(tokens=10_000))
    seen = await one.shows(lambda state: len(state["messages"]) == 2 and "w3 " in text_of(state["messages"][1]))
    other = await chats(sdk, gateway.url, "c1", messages=seen["messages"])
    await other.do("resume")
    await other.shows(lambda state: "w9 " in text_of(state["messages"][1]))
    job_id = seen["messages"][1]["id"]
    stale = await gateway.client.post(f"/ai-sdk/{sdk}/scripted/c1/stop", json={"activeStreamId": "earlier"})
    assert stale.json() == {"stopped": False}
    response = await gateway.client.post(f"/ai-sdk/{sdk}/scripted/c1/stop", json={"activeStreamId": job_id})
    assert response.json() == {"stopped": True}
    for chat in (one, other):
        ended = await chat.ended()
        assert (ended["status"], ended["error"]) == ("ready", None)
        assert text_of(ended["messages"][1]) == await jobs.said("c1", job_id)
    assert (await jobs.job("c1", job_id)).status == "cancelled"
    again = await gateway.client.post(f"/ai-sdk/{sdk}/scripted/c1/stop")
    assert again.json() == {"stopped": False}


@pytest.mark.parametrize("sdk", ALL)
async def test_a_job_of_another_dialect_can_be_read(gateway: Served, jobs: Client, chats: Chats, sdk: str) -> None:
    body = {"agent": "scripted", "input": "hi", "options": {"tokens": 120, "tools": 1, "interval_ms": 30}}
    job_id = (await gateway.client.post("/v1/sessions/c1/jobs", json=body)).json()["job_id"]
    chat = await chats(sdk, gateway.url, "c1")
    await chat.do("resume")
    ended = await chat.ended()
    expected = shown_of(await jobs.kept("c1", job_id))
    found = shown(ended["messages"][0])
    assert (found["texts"], found["tools"]) == (expected["texts"], expected["tools"])


async def test_the_error_of_a_refused_message_says_what_is_allowed(gateway: Served, chats: Chats) -> None:
    chat = await chats("v7", gateway.url, "c1", agent="nobody")
    await chat.send("Hello")
    ended = await chat.ended()
    assert ended["status"] == "error"
    assert ended["error"] == "agent: no worker offers 'nobody'; GET /v1/agents lists those on offer"
    chat = await chats("v7", gateway.url, "c1", body={"timeout_s": 0})
    await chat.send("Hello")
    assert (await chat.ended())["error"].startswith("timeout_s: should be greater than or equal to 1")


async def test_the_workflow_transport_without_an_id_gets_a_session_of_its_own(gateway: Served, chats: Chats) -> None:
    chat = await chats("workflow", gateway.url, "c1")
    await chat.send("Hello", **scripted(tokens=2))
    ended = await chat.ended()
    assert text_of(ended["messages"][1]) == words(2)
    assert ended["messages"][1]["metadata"]["sessionId"] != "c1"
