"""AG-UI's routes as they are on the wire: ids, cursors, errors, and who may do what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import orjson
import pytest
from holdfast.gateway.dialects.ag_ui import refusal
from holdfast.gateway.principal import Principal
from holdfast.gateway.stream.hub import StreamHub
from holdfast.shared.redis.errors import RedisError
from holdfast.shared.sessions import Sessions
from starlette.types import Scope

from tests.support.ag_ui_http import API, behind, body, frames, jobs_of, types
from tests.support.dialect_agents import travels
from tests.support.served import Served, served
from tests.support.workers import Client, worker_on


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    async with served(redis_url) as gateway, worker_on(redis_url, [travels]):
        client = Client(redis_url)
        await client.offered("scripted", "travels")
        await client.close()
        yield gateway


async def test_a_run_is_a_stream_of_events_with_ids(gateway: Served) -> None:
    response = await gateway.client.post(API, json=body())
    assert response.headers["content-type"].startswith("text/event-stream")
    assert types(response) == [
        *("RUN_STARTED", "TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END"),
        "RUN_FINISHED",
    ]
    assert frames(response)[0][1] == {"type": "RUN_STARTED", "threadId": "t1", "runId": "r1"}
    assert len(dict(frames(response))) == len(frames(response))


@pytest.mark.parametrize("url", [API, "/copilotkit/agent/scripted/run"])
async def test_what_has_no_effect_is_named_in_the_response(gateway: Served, url: str) -> None:
    """Tools cannot be called. A run that answers a question continues a job, which has its page already."""
    page = {"tools": [{"name": "paint"}], "state": {"colour": "red"}, "context": [{"description": "c", "value": "v"}]}
    asked = await gateway.client.post(
        url, json={**body(forwardedProps={"options": {"ask": "Go on?"}}), **page, "unknown": 1}
    )
    assert (asked.status_code, asked.headers["holdfast-ignored"]) == (200, "tools, unknown")
    [interrupt] = frames(asked)[-1][1]["outcome"]["interrupts"]
    resume = [{"interruptId": interrupt["id"], "status": "resolved", "payload": "yes"}]
    ignored = await gateway.client.post(url, json={**body("r3"), **page, "resume": resume})
    assert (ignored.status_code, ignored.headers["holdfast-ignored"]) == (200, "tools, state, context")
    assert types(ignored)[-1] == "RUN_FINISHED"
    empty = await gateway.client.post(url, json={**body("r2"), "tools": [], "state": {}, "context": []})
    assert "holdfast-ignored" not in empty.headers


async def test_a_run_that_is_sent_twice_starts_one_job(gateway: Served) -> None:
    """The second time with what the client has received, as HttpAgent repeats it: then a snapshot comes first."""
    first = await gateway.client.post(API, json=body())
    partial = frames(first)[1][1]["messageId"]
    again = body()
    again["messages"].append({"id": partial, "role": "assistant", "content": "w0 "})
    second = await gateway.client.post(API, json=again)
    assert types(second) == ["RUN_STARTED", "MESSAGES_SNAPSHOT", *types(first)[1:]]
    assert [message["id"] for message in frames(second)[1][1]["messages"]] == ["m1"]
    await asyncio.gather(*(gateway.client.post(API, json=body("r2")) for _ in range(2)))
    assert len(await jobs_of(gateway)) == 2


async def test_a_repeated_post_continues_after_the_last_event(gateway: Served) -> None:
    everything = frames(await gateway.client.post(API, json=body()))
    for received, (event_id, _) in enumerate(everything[1:-1], 2):
        response = await gateway.client.post(API, json=body(), headers={"last-event-id": event_id})
        assert frames(response) == everything[received:]
    end = await gateway.client.post(API, json=body(), headers={"last-event-id": everything[-1][0]})
    assert [event for _, event in frames(end)] == [everything[-1][1]]
    assert frames(end)[0][0] != everything[-1][0]
    assert len(await jobs_of(gateway)) == 1


async def test_a_cursor_starts_no_job(gateway: Served) -> None:
    response = await gateway.client.post(API, json=body(), headers={"last-event-id": "0-0.0"})
    assert (response.status_code, response.json()["error"]) == (404, "job_unknown")


async def test_a_cursor_of_another_run_is_ignored(gateway: Served) -> None:
    first = frames(await gateway.client.post(API, json=body()))
    await gateway.client.post(API, json=body("r2"))
    response = await gateway.client.get(f"{API}/t1/events", headers={"last-event-id": first[2][0]})
    assert types(response)[:2] == ["RUN_STARTED", "MESSAGES_SNAPSHOT"]


async def test_a_thread_is_joined_with_its_messages(gateway: Served) -> None:
    first = await gateway.client.post(API, json=body("r1", text="Hello r1"))
    await gateway.client.post(API, json=body("r2", messages=behind(first, "Hello r2")))
    response = await gateway.client.get(f"{API}/t1/events")
    messages = frames(response)[1][1]["messages"]
    assert [(message["role"], message["content"]) for message in messages] == [
        ("user", "Hello r1"),
        ("assistant", "w0 w1 "),
        ("user", "Hello r2"),
    ]
    assert types(response)[-1] == "RUN_FINISHED"


async def test_a_run_is_joined_by_its_id(gateway: Served) -> None:
    await gateway.client.post(API, json=body())
    for query in (
        {"threadId": "t1", "runId": "r1"},
        {"runId": f"t1~{(await jobs_of(gateway))[0]['job_id']}", "offset": "-1"},
    ):
        response = await gateway.client.get(API, params=query)
        assert types(response)[:2] == ["RUN_STARTED", "MESSAGES_SNAPSHOT"]
        assert frames(response)[0][1]["runId"] == query["runId"]
    for query in ({"threadId": "t1", "runId": "r9"}, {"runId": "r1"}, {"runId": "t9~j9"}):
        assert (await gateway.client.get(API, params=query)).status_code == 404
    assert (await gateway.client.get(API)).json()["field"] == "runId"


async def test_a_thread_is_hydrated(gateway: Served) -> None:
    assert (await gateway.client.get(API, params={"threadId": "t1"})).json() == {
        "messages": [],
        "activeRun": None,
        "interrupts": None,
    }
    props = {"options": {"tokens": 1, "tools": 1, "interval_ms": 1}}
    await gateway.client.post(API, json=body(forwardedProps=props))
    found = (await gateway.client.get(API, params={"threadId": "t1"})).json()
    assert [message["role"] for message in found["messages"]] == ["user", "assistant", "assistant"]
    kinds = [part["type"] for message in found["messages"] for part in message["parts"]]
    assert kinds == ["text", "tool-call", "tool-result", "text"]
    assert found["activeRun"] is None
    async with gateway.client.stream("POST", API, json=body("r2", forwardedProps={"options": {"tokens": 9999}})):
        found = (await gateway.client.get(API, params={"threadId": "t1"})).json()
    assert found["activeRun"]["runId"] == f"t1~{(await jobs_of(gateway))[0]['job_id']}"


@pytest.mark.parametrize(
    ("content", "field", "message"),
    [
        (b"{", "body", "must be valid JSON"),
        (b"[]", "body", "should be an object"),
        (b"{}", "threadId", "is required"),
        (orjson.dumps(body(messages=[])), "messages", "the last message must be one of the user"),
        (orjson.dumps(body(messages=[{"id": "1", "role": "robot"}])), "messages.0.role", "should be one of developer"),
        (orjson.dumps(body(messages=[{"id": "1", "role": "user"}])), "messages.0.content", "should be a string or"),
        (orjson.dumps(body(thread="")), "threadId", "1 to 512 characters"),
        (orjson.dumps(body("")), "runId", "1 to 512 characters"),
        (orjson.dumps(body(forwardedProps={"timeout_s": 0})), "forwardedProps.timeout_s", "should be greater than"),
        (orjson.dumps(body(resume=[{"interruptId": "x"}])), "resume.0.interruptId", "must be the id of an interrupt"),
    ],
)
async def test_an_error_names_the_field(gateway: Served, content: bytes, field: str, message: str) -> None:
    response = await gateway.client.post(API, content=content)
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/json"
    assert (response.json()["error"], response.json()["field"]) == ("invalid_request", field)
    assert response.json()["message"].startswith(f"{field}: {message}")


@pytest.mark.parametrize("cursor", ["x", "1", "1763683200123-2", "1763683200123-2.x", "0-0.9999999", "1-2.0"])
async def test_a_cursor_is_the_id_of_an_event(gateway: Served, cursor: str) -> None:
    response = await gateway.client.get(f"{API}/t1/events", headers={"last-event-id": cursor})
    assert response.status_code == 400
    assert response.json()["message"] == (
        "Last-Event-ID must be the id of an event of this stream, such as 1763683200123-2.0"
    )


async def test_an_unknown_agent_is_named(gateway: Served) -> None:
    response = await gateway.client.post("/ag-ui/nobody", json=body())
    assert (response.status_code, response.json()["error"]) == (404, "agent_unknown")


async def test_a_new_session_gets_the_messages_of_the_thread(gateway: Served) -> None:
    given = body()
    given["messages"] = [
        {"id": "1", "role": "user", "content": "One"},
        {"id": "2", "role": "assistant", "content": "Answer"},
        {"id": "3", "role": "user", "content": [{"type": "text", "text": "Two"}]},
    ]
    await gateway.client.post(API, json=given)
    await gateway.client.post(API, json=body("r2", messages=given["messages"]))
    conversation = (await gateway.client.get("/v1/sessions/t1/messages")).json()["messages"]
    assert [message["content"] for message in conversation] == ["One", "Answer", "Two", "w0 w1 "], "the second run's"


async def test_a_client_that_resumes_is_not_refused_but_cut(gateway: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """TanStack AI gives up on any status but 200, and after a clean end."""
    monkeypatch.setattr(refusal, "PAUSE_S", (0, 0))
    first = frames(await gateway.client.post(API, json=body()))
    monkeypatch.setattr(StreamHub, "full", True)
    with pytest.raises(httpx2.RemoteProtocolError):
        await gateway.client.post(API, json=body(), headers={"last-event-id": first[0][0]})
    refused = await gateway.client.post(API, json=body("r2"))
    assert (refused.status_code, refused.json()["error"]) == (503, "log_unavailable")
    assert len(await jobs_of(gateway)) == 1, "a client sends a refused message again, as another run"


async def test_a_client_that_resumes_without_redis_is_cut(gateway: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unavailable(*_: object) -> None:
        raise RedisError

    monkeypatch.setattr(refusal, "PAUSE_S", (0, 0))
    first = frames(await gateway.client.post(API, json=body()))
    monkeypatch.setattr(Sessions, "job", unavailable)
    for method, path in (("POST", API), ("GET", f"{API}/t1/events")):
        with pytest.raises(httpx2.RemoteProtocolError):
            await gateway.client.request(method, path, json=body(), headers={"last-event-id": first[0][0]})
        assert (await gateway.client.request(method, path, json=body())).status_code == 503


async def test_copilotkit_lists_the_agents(gateway: Served) -> None:
    for response in (
        await gateway.client.get("/copilotkit/info"),
        await gateway.client.post("/copilotkit", json={"method": "info"}),
    ):
        assert response.json()["mode"] == "sse"
        assert set(response.json()["agents"]) == {"scripted", "travels"}


@pytest.mark.parametrize("single", [True, False], ids=["single", "rest"])
async def test_copilotkit_runs_connects_and_stops(gateway: Served, *, single: bool) -> None:
    async def call(method: str, given: Any, thread: str = "t1") -> httpx2.Response:
        if single:
            params = {"agentId": "scripted", "threadId": thread}
            return await gateway.client.post(
                "/copilotkit", json={"method": f"agent/{method}", "params": params, "body": given}
            )
        path = f"stop/{thread}" if method == "stop" else method
        return await gateway.client.post(f"/copilotkit/agent/scripted/{path}", json=given)

    nothing = await call("connect", body(messages=[]))
    assert (nothing.status_code, frames(nothing)) == (200, [])
    ran = await call("run", body())
    connected = await call("connect", body("r9", messages=[]))
    assert types(connected) == ["RUN_STARTED", "MESSAGES_SNAPSHOT", *types(ran)[1:]]
    assert (await call("stop", {"runId": "r1"})).json() == {"stopped": False}
    async with gateway.client.stream("POST", API, json=body("r2", forwardedProps={"options": {"tokens": 9999}})):
        stopped = (await call("stop", {"runId": "r2"})).json()
    assert stopped["stopped"] is True
    assert stopped["interrupt"]["type"] == "RUN_ERROR"


async def test_copilotkit_names_its_methods(gateway: Served) -> None:
    response = await gateway.client.post("/copilotkit", json={"method": "agent/fly"})
    assert (response.status_code, response.json()["field"]) == (422, "method")


async def _restricted(scope: Scope) -> Principal:
    return Principal(session="mine")


async def test_a_thread_of_another_caller_does_not_exist(redis_url: str) -> None:
    async with served(redis_url, authenticate=_restricted) as gateway, worker_on(redis_url):
        client = Client(redis_url)
        await client.offered("scripted")
        await client.post("theirs", options={"tokens": 1})
        await client.end("theirs")
        assert (await gateway.client.post(API, json=body(thread="theirs"))).status_code == 404
        assert (await gateway.client.get(f"{API}/theirs/events")).status_code == 404
        assert (await gateway.client.get(API, params={"runId": "theirs~j1"})).status_code == 404
        assert (await gateway.client.get(API, params={"threadId": "theirs"})).json()["messages"] == []
        assert (await gateway.client.post(f"{API}/theirs/stop")).json() == {"stopped": False}
        connect = await gateway.client.post("/copilotkit/agent/scripted/connect", json=body(thread="theirs"))
        assert frames(connect) == []
        for status in ("resolved", "cancelled"):
            resume = [{"interruptId": "j1~q1", "status": status, "payload": 1}]
            assert (await gateway.client.post(API, json=body(thread="theirs", resume=resume))).status_code == 404
        assert (await gateway.client.post(API, json=body(thread="mine"))).status_code == 200
        assert [job.job_id for job in (await client.sessions.jobs("theirs", None, 10)).jobs] == ["j1"]
        await client.close()
