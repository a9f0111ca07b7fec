"""The AI SDK's routes as they are on the wire: headers, status codes, errors, and who may do what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import orjson
import pytest
from holdfast.gateway.dialects.ai_sdk import routes
from holdfast.gateway.principal import Principal
from holdfast.shared.log.conversation import NO_FILES
from holdfast.shared.redis.errors import RedisError
from holdfast.shared.sessions import Sessions
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


async def test_what_does_not_reach_the_agent_is_named_in_the_response(gateway: Served) -> None:
    ignored = await gateway.client.post(API, json=body(messageId="m0", tools=["paint"], webSearch=True))
    assert (ignored.status_code, ignored.headers["holdfast-ignored"]) == (200, "tools, webSearch")
    assert chunks(ignored)[-1]["type"] == "finish"


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


@pytest.mark.parametrize("index", [-1, -3, -99])
async def test_a_client_that_counts_from_the_end_receives_everything(gateway: Served, index: int) -> None:
    """The client computes the number of its first chunk as tail + 1 + index: it has to be 0."""
    everything = chunks(await gateway.client.post(WORKFLOW, json=body()))
    response = await gateway.client.get(f"{WORKFLOW}/c1/stream?startIndex={index}")
    assert int(response.headers["x-workflow-stream-tail-index"]) + 1 + index == 0
    assert chunks(response) == everything


@pytest.mark.parametrize("path", ["c1/stream?startIndex=3", "c1~gone/stream?startIndex=0"])
async def test_the_workflow_transport_is_told_that_the_rest_of_an_answer_is_gone(gateway: Served, path: str) -> None:
    response = await gateway.client.get(f"{WORKFLOW}/{path}")
    assert response.status_code == 200
    assert [chunk["type"] for chunk in chunks(response)] == ["message-metadata", "error", "finish"]
    assert chunks(response)[0]["messageMetadata"] == {"status": "lost"}


async def test_a_run_that_is_gone_is_not_an_empty_chat(gateway: Served) -> None:
    assert (await gateway.client.get(f"{API}/c1~gone/stream")).status_code == 410
    assert (await gateway.client.get(f"{API}/c1/stream")).status_code == 204


async def test_a_run_with_a_trimmed_beginning_is_lost(gateway: Served, redis_url: str) -> None:
    run = (await gateway.client.post(API, json=body())).headers["x-workflow-run-id"]
    client = Client(redis_url)
    await client.log_redis.xtrim("holdfast:{c1}:log", maxlen=1, approximate=False)
    await client.close()
    assert (await gateway.client.get(f"{API}/{run}/stream")).status_code == 410
    assert (await gateway.client.get(f"{API}/c1/stream")).status_code == 204
    lost = await gateway.client.get(f"{WORKFLOW}/{run}/stream?startIndex=2")
    assert [chunk["type"] for chunk in chunks(lost)] == ["message-metadata", "error", "finish"]


async def test_the_newest_job_that_has_not_ended_is_resumed_and_stopped(redis_url: str) -> None:
    async with served(redis_url) as gateway:
        await gateway.offer("scripted")
        async with (
            gateway.client.stream("POST", API, json=body()),
            gateway.client.stream("POST", API, json=body(message_id="m2")) as second,
            gateway.client.stream("GET", f"{API}/c1/stream") as resumed,
        ):
            run = second.headers["x-workflow-run-id"]
            assert resumed.headers["x-workflow-run-id"] == run
            assert (await gateway.client.post(f"{API}/c1/stop")).json() == {"stopped": True}
            client = Client(redis_url)
            async with worker_on(redis_url):
                newest = run.partition("~")[2]
                await client.until("c1", newest, lambda job: job.end is not None)
                assert (await client.job("c1", newest)).status == "cancelled"
            await client.close()


async def test_an_empty_stream_id_stops_nothing(redis_url: str) -> None:
    async with served(redis_url) as gateway:
        await gateway.offer("scripted")
        async with gateway.client.stream("POST", API, json=body()):
            response = await gateway.client.post(f"{API}/c1/stop", json={"activeStreamId": ""})
            assert response.json() == {"stopped": False}


async def test_a_chat_id_in_the_form_of_a_run_id_is_refused(gateway: Served) -> None:
    response = await gateway.client.post(API, json=body(chat_id="a~b"))
    assert response.status_code == 422
    assert response.text.startswith("id: ")


async def test_a_retry_that_names_its_message_starts_one_job(gateway: Served) -> None:
    """`sendMessage()` without arguments sends the last message again, and its id as `messageId`."""
    await gateway.client.post(API, json=body())
    await gateway.client.post(API, json=body(messageId="m1"))
    assert len(await jobs_of(gateway)) == 1


async def test_another_answer_replaces_the_running_one(gateway: Served) -> None:
    options = {"tokens": 10_000, "interval_ms": 30}
    async with gateway.client.stream("POST", API, json=body(options=options)) as first:
        assert first.status_code == 200
        again = body(options={"tokens": 2}, trigger="regenerate-message")
        assert chunks(await gateway.client.post(API, json=again))[-1]["messageMetadata"] == {"status": "completed"}
    assert sorted(job["status"] for job in await jobs_of(gateway)) == ["cancelled", "completed"]


async def test_an_error_about_the_input_names_the_messages(redis_url: str) -> None:
    async with served(redis_url) as gateway:
        await gateway.offer("scripted")  # its input is a string
        given = body()
        given["messages"][0]["parts"].append({"type": "file", "mediaType": "image/png", "url": "data:,"})
        response = await gateway.client.post(API, json=given)
    assert (response.status_code, response.text) == (422, f"messages: {NO_FILES}")


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


async def test_the_workflow_transport_finds_an_accepted_job_after_an_outage(
    gateway: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis fails between the submission and the stream. Without an id of its own the client could not send again."""

    async def unavailable(*_: Any) -> None:
        raise RedisError

    with monkeypatch.context() as patched:
        patched.setattr(Sessions, "job", unavailable)
        patched.setattr(routes, "retry_ms", lambda: 1)
        response = await gateway.client.post(WORKFLOW, json=body(chat_id=None))
    assert (response.status_code, chunks(response)) == (200, [])
    resumed = await gateway.client.get(f"{WORKFLOW}/{response.headers['x-workflow-run-id']}/stream?startIndex=0")
    assert chunks(resumed)[-1]["messageMetadata"] == {"status": "completed"}


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


async def _restricted(scope: Scope) -> Principal:
    return Principal(session="mine")


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
        run, nobodys = [await gateway.client.get(f"{WORKFLOW}/{one}~j1/stream") for one in ("theirs", "nobodys")]
        assert run.text == nobodys.text
        assert (await gateway.client.get(f"{API}/theirs~j1/stream")).status_code == 410
        assert (await gateway.client.post(f"{API}/theirs/stop")).json() == {"stopped": False}
        assert (await gateway.client.post(API, json=body(chat_id="mine"))).status_code == 200
        assert [job.job_id for job in (await client.sessions.jobs("theirs", None, 10)).jobs] == ["j1"]
        await client.close()
