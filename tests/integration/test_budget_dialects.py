"""The end of a job by its budget, as the clients of each protocol get it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from holdfast.worker.sdk.run import Run

from tests.support.served import Served, served
from tests.support.sse import SseStream
from tests.support.websocket_client import open_socket, receive_until
from tests.support.workers import Client, worker_on

SAID = "The job's budget of 4 tokens (tokens) is exceeded"
ERROR = {"code": "budget_exceeded", "message": SAID, "retryable": False}
MESSAGES = [{"role": "user", "content": "Hello"}]


async def spender(run: Run) -> str:
    await run.text("Spent")
    await run.usage(3, 2, "m")
    await run.text(" in vain")
    return "done"


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    async with served(redis_url, job_max_tokens=4) as gateway, worker_on(redis_url, [spender]):
        client = Client(redis_url)
        await client.offered("spender")
        await client.close()
        yield gateway


async def events(gateway: Served, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """Post, and return the events of the response."""
    response = await gateway.client.post(path, json=body)
    assert response.status_code == 200
    data = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: {")]
    return [json.loads(each) for each in data]


async def test_an_event_stream_and_a_websocket_end_with_job_failed(gateway: Served) -> None:
    await gateway.client.post("/v1/sessions/s/jobs", json={"agent": "spender", "input": "x"})
    async with open_socket(gateway.port, query="?raw=true") as socket:
        received = await receive_until(socket, type="job.failed")
    assert received[-1]["error"] == ERROR
    job_id = received[-1]["job_id"]
    async with SseStream(f"{gateway.url}/v1/sessions/s/jobs/{job_id}/events") as stream:
        frames = [frame.json async for frame in stream]
    assert (frames[-1]["type"], frames[-1]["error"]) == ("job.failed", ERROR)
    assert [frame["text"] for frame in frames if frame["type"] == "text.delta"] == ["Spent"]


@pytest.mark.parametrize("client", ["v6", "v7", "workflow"])
async def test_a_chat_of_the_ai_sdk_ends_with_an_error_part(gateway: Served, client: str) -> None:
    message = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "Hello"}]}
    chunks = await events(gateway, f"/ai-sdk/{client}/spender", {"id": "c1", "messages": [message]})
    [error] = [chunk for chunk in chunks if chunk["type"] == "error"]
    assert error["errorText"] == SAID
    assert chunks[-1]["type"] == "finish"
    metadata = [chunk["messageMetadata"] for chunk in chunks if "messageMetadata" in chunk]
    assert [each["error"] for each in metadata if "error" in each] == [ERROR]
    assert "".join(chunk.get("delta", "") for chunk in chunks) == "Spent"


async def test_a_run_of_ag_ui_ends_with_run_error(gateway: Served) -> None:
    messages = [{"id": "m1", **MESSAGES[0]}]
    run = {"threadId": "t1", "runId": "r1", "messages": messages}
    found = await events(gateway, "/ag-ui/spender", run)
    assert [found[-1][name] for name in ("type", "code", "message")] == ["RUN_ERROR", "budget_exceeded", SAID]


async def test_a_response_of_openai_fails(sdk: Any) -> None:
    response = await sdk.responses.create(model="spender", input="x")
    assert (response.status, response.output_text) == ("failed", "Spent")
    assert (response.error.code, response.error.message) == ("budget_exceeded", SAID)
    async with sdk.responses.stream(response_id=response.id) as stream:
        kinds = [event.type async for event in stream]
    assert kinds[-1] == "response.failed"


async def test_a_completion_of_openai_is_an_error(sdk: Any) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        await sdk.chat.completions.create(model="spender", messages=MESSAGES)
    assert (refused.value.status_code, refused.value.code) == (502, "budget_exceeded")
    stream = await sdk.chat.completions.create(model="spender", messages=MESSAGES, stream=True)
    said: list[str] = []
    with pytest.raises(openai.APIError) as failed:
        await read(stream, said)
    assert ("".join(said), failed.value.code) == ("Spent", "budget_exceeded")
    assert SAID in failed.value.message


async def read(stream: Any, said: list[str]) -> None:
    async for chunk in stream:
        said += [choice.delta.content or "" for choice in chunk.choices]
