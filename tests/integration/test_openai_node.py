"""OpenAI's own Node client, unchanged, at a gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.openai_node import openai_node
from tests.support.served import Served, served
from tests.support.travel import strands, told, travels
from tests.support.workers import Client, worker_on

TOLD = told(words=5)
RESPONSE = {"model": "travels", "input": "go", "temperature": 0, "max_output_tokens": 5}
COMPLETION = {"model": "travels", "messages": [{"role": "user", "content": "go"}], "temperature": 0, "max_tokens": 5}


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    client = Client(redis_url)
    async with served(redis_url) as gateway, worker_on(redis_url, [travels, strands]):
        await client.offered("travels", "strands")
        yield gateway
    await client.close()


def events_of(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line["event"] for line in lines if "event" in line]


async def test_the_helper_for_responses_assembles_every_event(gateway: Served) -> None:
    lines = await openai_node(gateway.url, "response", body=RESPONSE)
    final = lines[-1]["final"]
    assert (final["status"], final["output_text"]) == ("completed", TOLD)
    replayed = await openai_node(gateway.url, "replay", id=final["id"])
    assert replayed[-1]["final"]["output_text"] == TOLD


async def test_a_cut_stream_is_resumed_after_the_last_event(gateway: Served) -> None:
    body = {**RESPONSE, "background": True, "stream": True}
    first = events_of(await openai_node(gateway.url, "create", body=body, stopAt=9))
    response_id = first[0]["response"]["id"]
    rest = events_of(await openai_node(gateway.url, "resume", id=response_id, after=9))
    assert [event["sequence_number"] for event in [*first, *rest]] == list(range(len(first) + len(rest)))
    assert rest[-1]["type"] == "response.completed"


async def test_responses_are_created_retrieved_and_cancelled(gateway: Served) -> None:
    body = {"model": "travels", "input": "ask", "background": True}
    created = (await openai_node(gateway.url, "create", body=body))[-1]["final"]
    cancelled = (await openai_node(gateway.url, "cancel", id=created["id"]))[-1]["final"]
    retrieved = (await openai_node(gateway.url, "retrieve", id=created["id"]))[-1]["final"]
    assert (cancelled["status"], retrieved["status"]) == ("cancelled", "cancelled")


async def test_a_failed_response_resolves_as_failed(gateway: Served) -> None:
    final = (await openai_node(gateway.url, "response", body={"model": "strands", "input": "go"}))[-1]["final"]
    assert (final["status"], final["error"]["code"]) == ("failed", "strike")


async def test_completions_are_streamed_and_whole(gateway: Served) -> None:
    streamed = (await openai_node(gateway.url, "completion", body=COMPLETION))[-1]["final"]
    whole = (await openai_node(gateway.url, "complete", body=COMPLETION))[-1]["final"]
    for completion in (streamed, whole):
        assert completion["choices"][0]["message"]["content"] == TOLD
        assert completion["choices"][0]["finish_reason"] == "stop"


async def test_a_failed_completion_is_an_error(gateway: Served) -> None:
    body = {**COMPLETION, "model": "strands"}
    for call in ("completion", "complete"):
        assert (await openai_node(gateway.url, call, body=body))[-1]["error"]["code"] == "strike"


async def test_the_agents_are_the_models(gateway: Served) -> None:
    models = (await openai_node(gateway.url, "models"))[-1]["final"]
    assert {"travels", "strands"} <= {model["id"] for model in models}
