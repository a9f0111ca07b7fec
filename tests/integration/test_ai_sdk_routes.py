"""The AI SDK's routes as they are on the wire: headers, status codes, errors, and who may do what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import orjson
import pytest
from holdfast.gateway.principal import Principal, Right
from starlette.types import Scope

from tests.support.served import Served, served
from tests.support.workers import Client, worker_on

API = "/ai-sdk/v7/scripted"
WORKFLOW = "/ai-sdk/workflow/scripted"


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    async with served(redis_url) as gateway, worker_on(redis_url):
        client = Client(redis_url)
        await client.offered("scripted")
        await client.close()
        yield gateway


def body(text: str = "Hello", chat_id: str | None = "c1", message_id: str = "m1", **fields: Any) -> dict[str, Any]:
    messages = [{"id": message_id, "role": "user", "parts": [{"type": "text", "text": text}]}]
    given = {"messages": messages, "options": {"tokens": 2, "interval_ms": 1}, **fields}
    return given if chat_id is None else {"id": chat_id, **given}


def chunks(response: httpx2.Response) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line.startswith("data: {")]
    return [orjson.loads(line) for line in lines]


async def jobs_of(gateway: Served, session: str = "c1") -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = (await gateway.client.get(f"/v1/sessions/{session}/jobs")).json()["jobs"]
    return jobs


async def test_a_stream_has_the_headers_of_the_protocol_and_ends_with_done(gateway: Served) -> None:
    response = await gateway.client.post(API, json=body())
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["x-vercel-ai-ui-message-stream"] == "v1"
    assert response.headers["x-accel-buffering"] == "no"
    [job] = await jobs_of(gateway)
    assert response.headers["x-workflow-run-id"] == f"c1~{job['job_id']}"
    assert chunks(response)[0]["messageId"] == job["job_id"]
    assert chunks(response)[-1]["type"] == "finish"
    assert response.text.endswith("}}\n\ndata: [DONE]\n\n")


async def test_a_body_needs_no_content_type(gateway: Served) -> None:
    """WorkflowChatTransport sends none."""
    headers = {"content-type": "text/plain;charset=UTF-8"}
    response = await gateway.client.post(WORKFLOW, content=orjson.dumps(body(chat_id=None)), headers=headers)
    assert response.status_code == 200
    run = response.headers["x-workflow-run-id"]
    again = await gateway.client.get(f"{WORKFLOW}/{run}/stream?startIndex=0")
    assert chunks(again) == chunks(response)


async def test_a_message_that_is_sent_twice_starts_one_job(gateway: Served) -> None:
    responses = await asyncio.gather(*(gateway.client.post(API, json=body()) for _ in range(2)))
    assert chunks(responses[0]) == chunks(responses[1])
    assert len(await jobs_of(gateway)) == 1


async def test_a_chat_with_history_that_is_sent_twice_starts_one_job(gateway: Served) -> None:
    """The session is new to the first request, and has the history when the second one arrives."""
    chat = body()
    answer = {"id": "m0", "role": "assistant", "parts": [{"type": "text", "text": "Answer"}]}
    chat["messages"] = [{**chat["messages"][0], "id": "m"}, answer, *chat["messages"]]
    for _ in range(2):
        assert (await gateway.client.post(API, json=chat)).status_code == 200
    assert len(await jobs_of(gateway)) == 1


async def test_an_idempotency_key_of_the_client_counts(gateway: Served) -> None:
    for number in range(2):
        given = body(message_id=f"m{number}")
        assert (await gateway.client.post(API, json=given, headers={"idempotency-key": "k"})).status_code == 200
    assert len(await jobs_of(gateway)) == 1
    other = await gateway.client.post(API, json=body("Other"), headers={"idempotency-key": "k"})
    assert (other.status_code, other.text) == (422, "This Idempotency-Key was used with another body")


async def test_a_client_that_counts_receives_what_follows(gateway: Served) -> None:
    everything = chunks(await gateway.client.post(WORKFLOW, json=body()))
    for index in range(len(everything)):
        response = await gateway.client.get(f"{WORKFLOW}/c1/stream?startIndex={index}")
        assert chunks(response) == everything[index:]
    for index in (-1, -3, -99):
        response = await gateway.client.get(f"{WORKFLOW}/c1/stream?startIndex={index}")
        assert response.headers["x-workflow-stream-tail-index"] == str(len(everything) - 1)
        assert chunks(response) == everything[index:]


@pytest.mark.parametrize("index", ["x", "1.5", "", "1e3", "0&startIndex=1", "9" * 30])
async def test_a_start_index_is_an_integer(gateway: Served, index: str) -> None:
    response = await gateway.client.get(f"{WORKFLOW}/c1/stream?startIndex={index}")
    assert response.status_code == 422
    assert response.text.startswith("startIndex: must be one integer")


async def test_only_the_workflow_transport_counts(gateway: Served) -> None:
    response = await gateway.client.get(f"{API}/c1/stream?startIndex=1")
    assert (response.status_code, response.text) == (422, "startIndex: is allowed below /ai-sdk/workflow/ only")


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/ai-sdk/v5/scripted"), ("GET", "/ai-sdk/v5/scripted/c1/stream"), ("GET", "/ai-sdk/")]
)
async def test_another_client_is_unknown(gateway: Served, method: str, path: str) -> None:
    response = await gateway.client.request(method, path, json=body())
    assert (response.status_code, response.text) == (404, "No route matches this URL")


@pytest.mark.parametrize(
    ("content", "status", "text"),
    [
        (b"{", 422, "body: must be valid JSON"),
        (b"[]", 422, "body: should be an object"),
        (
            b'{"messages":[{"role":"tool","parts":[]}]}',
            422,
            "messages.0.role: should be one of system, user, assistant",
        ),
        (
            b'{"id":"c","messages":[{"id":"m","role":"user","parts":[{"type":"data-x","data":%d}]}]}' % 10**40,
            422,
            "messages: nested too deeply: at most 200 levels; integers must fit in 64 bits",
        ),
        (b'{"id":"","messages":[{"role":"user","parts":[]}]}', 422, "id: 1 to 512 characters"),
    ],
)
async def test_an_error_is_a_text_for_the_user(gateway: Served, content: bytes, status: int, text: str) -> None:
    response = await gateway.client.post(API, content=content)
    assert response.status_code == status
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.text.startswith(text)


async def test_a_full_queue_says_when_to_try_again(redis_url: str) -> None:
    async with served(redis_url, session_backlog_limit=1) as gateway:
        await gateway.offer("scripted")
        async with gateway.client.stream("POST", API, json=body()) as first:
            assert first.status_code == 200
            second = await gateway.client.post(API, json=body(message_id="m2"))
    assert second.status_code == 429
    assert int(second.headers["retry-after"]) > 0


@pytest.mark.parametrize("given", [[], {"activeStreamId": 1}])
async def test_a_stop_names_a_stream(gateway: Served, given: Any) -> None:
    assert (await gateway.client.post(f"{API}/c1/stop", json=given)).status_code == 422


async def test_a_stop_by_run_id_cancels_that_job(redis_url: str) -> None:
    async with served(redis_url) as gateway:
        await gateway.offer("scripted")
        async with (
            gateway.client.stream("POST", API, json=body()) as first,
            gateway.client.stream("POST", API, json=body(message_id="m2")) as second,
        ):
            first_id, second_id = (one.headers["x-workflow-run-id"].partition("~")[2] for one in (first, second))
            response = await gateway.client.post(f"{API}/c1~{second_id}/stop")
            assert response.json() == {"stopped": True}
            client = Client(redis_url)
            async with worker_on(redis_url):
                await client.until("c1", second_id, lambda job: job.end is not None)
                assert (await client.job("c1", first_id)).status != "cancelled"
            await client.close()


class Restricted(Principal):
    """May use the session `mine`."""

    def may(self, right: Right, session_id: str) -> bool:
        return session_id == "mine"


async def _restricted(scope: Scope) -> Principal:
    return Restricted("someone")


async def test_a_chat_of_another_caller_does_not_exist(redis_url: str) -> None:
    async with served(redis_url, authenticate=_restricted) as gateway, worker_on(redis_url):
        client = Client(redis_url)
        await client.offered("scripted")
        await client.post("theirs", options={"tokens": 1})
        await client.end("theirs")
        assert (await gateway.client.post(API, json=body(chat_id="theirs"))).status_code == 404
        assert (await gateway.client.get(f"{API}/theirs/stream")).status_code == 204
        unknown = await gateway.client.get(f"{WORKFLOW}/theirs/stream")
        assert [chunk["type"] for chunk in chunks(unknown)] == ["finish"]
        run = await gateway.client.get(f"{WORKFLOW}/theirs~j1/stream")
        assert run.text == unknown.text
        assert (await gateway.client.post(f"{API}/theirs/stop")).json() == {"stopped": False}
        assert (await gateway.client.post(API, json=body(chat_id="mine"))).status_code == 200
        assert [job.job_id for job in (await client.sessions.jobs("theirs", None, 10)).jobs] == ["j1"]
        await client.close()
