"""What OpenAI's routes answer when there is no room, no time, or no log."""

from __future__ import annotations

import asyncio
import gc
from itertools import chain, repeat

import pytest
from holdfast.gateway.dialects.openai import routes
from holdfast.gateway.dialects.openai.response_body import ResponseBody
from holdfast.gateway.dialects.openai.waiting import Waiter
from holdfast.gateway.stream.hub import StreamHub
from holdfast.shared.keys import session_keys
from holdfast.shared.redis.errors import RedisError
from holdfast.shared.sessions import Sessions

from tests.support.process import until
from tests.support.served import served
from tests.support.sse import SseStream
from tests.support.travel import travels
from tests.support.workers import Client, worker_on

RESPONSE = {"model": "travels", "input": "ask"}
COMPLETION = {"model": "travels", "messages": [{"role": "user", "content": "ask"}]}


async def test_nothing_is_accepted_that_could_not_be_streamed(redis_url: str) -> None:
    async with served(redis_url, max_viewers=1) as gateway:
        await gateway.offer("travels")
        await gateway.client.post("/v1/sessions/first/jobs", json={"agent": "travels", "input": "go"})
        async with SseStream(f"{gateway.url}/v1/sessions/first/events"):
            for path, body in (("responses", RESPONSE), ("chat/completions", COMPLETION)):
                refused = await gateway.client.post(f"/openai/v1/{path}", json=body)
                assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
        sessions = (await gateway.client.get("/v1/sessions")).json()["sessions"]
    assert [session["session_id"] for session in sessions] == ["first"]


CALLS = [("responses", RESPONSE, "resp_"), ("chat/completions", COMPLETION, "chatcmpl-")]
KEYS: list[tuple[dict[str, str], str | None]] = [({}, "false"), ({"Idempotency-Key": "k1"}, None)]


@pytest.mark.parametrize(("path", "body", "prefix"), CALLS, ids=["responses", "completions"])
@pytest.mark.parametrize(("key", "retried"), KEYS, ids=["without a key", "with a key"])
async def test_a_call_that_waited_too_long_is_repeated_only_with_a_key(
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    body: dict[str, object],
    prefix: str,
    key: dict[str, str],
    retried: str | None,
) -> None:
    """A repeated request without a key would start a second job; with a key it waits for the first one."""
    monkeypatch.setattr(routes, "WAIT_SECONDS", 0.1)
    async with served(redis_url) as gateway:
        await gateway.offer("travels")
        response = await gateway.client.post(f"/openai/v1/{path}", json=body, headers=key)
        error = response.json()["error"]
        assert (response.status_code, error["code"]) == (504, "timeout")
        assert response.headers.get("x-should-retry") == retried
        session = (await gateway.client.get("/v1/sessions")).json()["sessions"][0]
        assert f"{prefix}{session['session_id']}{session['job_id']}" in error["message"]


@pytest.mark.parametrize(("path", "body", "prefix"), CALLS, ids=["responses", "completions"])
@pytest.mark.parametrize(("key", "retried"), KEYS, ids=["without a key", "with a key"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_failure_after_a_job_was_accepted_is_repeated_only_with_a_key(
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    body: dict[str, object],
    prefix: str,
    key: dict[str, str],
    retried: str | None,
    *,
    stream: bool,
) -> None:
    async def unavailable(*_: object) -> None:
        raise RedisError

    async with served(redis_url) as gateway:
        await gateway.offer("travels")
        monkeypatch.setattr(Sessions, "job", unavailable)
        response = await gateway.client.post(f"/openai/v1/{path}", json={**body, "stream": stream}, headers=key)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (503, "log_unavailable")
    assert response.headers.get("x-should-retry") == retried
    assert prefix in error["message"]


@pytest.mark.parametrize(("path", "body", "prefix"), CALLS, ids=["responses", "completions"])
async def test_a_stream_that_is_refused_after_its_job_was_accepted_is_not_repeated(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, path: str, body: dict[str, object], prefix: str
) -> None:
    full = chain([False], repeat(True))
    async with served(redis_url) as gateway:
        await gateway.offer("travels")
        monkeypatch.setattr(StreamHub, "full", property(lambda _: next(full)))
        refused = await gateway.client.post(f"/openai/v1/{path}", json={**body, "stream": True})
    assert (refused.status_code, refused.headers["x-should-retry"]) == (503, "false")
    assert prefix in refused.json()["error"]["message"]


async def test_a_waiting_request_does_not_keep_its_body(redis_url: str) -> None:
    async with served(redis_url) as gateway:
        await gateway.offer("travels")
        body = {**RESPONSE, "metadata": {"marker": "kept"}}
        waiting = asyncio.create_task(gateway.client.post("/openai/v1/responses", json=body))
        await until(lambda: _waiters() > 0)
        assert [one for one in gc.get_objects() if isinstance(one, ResponseBody)] == []
        waiting.cancel()


def _waiters() -> int:
    return sum(isinstance(one, Waiter) for one in gc.get_objects())


@pytest.mark.parametrize("query", ["", "?stream=true"], ids=["whole", "streamed"])
async def test_a_response_whose_beginning_is_gone_is_gone(redis_url: str, query: str) -> None:
    client = Client(redis_url)
    async with served(redis_url) as gateway, worker_on(redis_url, [travels]):
        await client.offered("travels")
        body = {"model": "travels", "input": "go", "temperature": 0, "max_output_tokens": 5}
        response_id = (await gateway.client.post("/openai/v1/responses", json=body)).json()["id"]
        session = (await gateway.client.get("/v1/sessions")).json()["sessions"][0]["session_id"]
        await gateway.redis.xtrim(session_keys(session).log, maxlen=3, approximate=False)
        gone = await gateway.client.get(f"/openai/v1/responses/{response_id}{query}")
    await client.close()
    assert (gone.status_code, gone.json()["error"]["code"]) == (410, "events_trimmed")
