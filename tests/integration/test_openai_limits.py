"""What OpenAI's routes answer when there is no room, no time, or no log."""

from __future__ import annotations

import pytest
from holdfast.gateway.dialects.openai import routes
from holdfast.shared.keys import session_keys

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


async def test_a_call_that_waited_long_enough_tells_how_far_its_job_is(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "WAIT_SECONDS", 0.1)
    async with served(redis_url) as gateway:
        await gateway.offer("travels")
        response = (await gateway.client.post("/openai/v1/responses", json=RESPONSE | {"input": "x"})).json()
        assert (response["status"], response["output"]) == ("queued", [])
        completion = await gateway.client.post("/openai/v1/chat/completions", json=COMPLETION)
        assert (completion.status_code, completion.json()["error"]["code"]) == (504, "timeout")
        assert completion.headers["x-should-retry"] == "false"


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
