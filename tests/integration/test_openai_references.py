"""Items of earlier responses in a request, which the AI SDK's provider for OpenAI names instead of repeating them."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from holdfast.gateway.dialects.openai import references
from holdfast.worker import Run

from tests.integration.test_principal import by_header
from tests.support.node import FOLDER, NODE
from tests.support.served import Served, served
from tests.support.travel import travels
from tests.support.workers import Client, worker_on

TURNS = 10
QUICK: dict[str, Any] = {"temperature": 0, "max_output_tokens": 2}
seen: list[list[tuple[str, Any]]] = []


async def writer(run: Run) -> str:
    """Keeps what it was given, thinks, and answers."""
    given = run.input if isinstance(run.input, dict) else {"messages": [{"role": "user", "content": run.input}]}
    seen.append([(message["role"], told(message["content"])) for message in given["messages"]])
    await run.reasoning("Hm. ")
    return f"answer {sum(role == 'user' for role, _ in seen[-1]) - 1}"


def told(content: Any) -> Any:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    seen.clear()
    client = Client(redis_url)
    async with served(redis_url, authenticate=by_header) as gateway, worker_on(redis_url, [writer, travels]):
        await client.offered("writer", "travels")
        yield gateway
    await client.close()


async def respond(gateway: Served, caller: str = "ann", model: str = "writer", **body: Any) -> httpx2.Response:
    path, headers = "/openai/v1/responses", {"x-caller": caller}
    return await gateway.client.post(path, json={"model": model, **body}, headers=headers)


def reference(item: Any) -> dict[str, Any]:
    return {"type": "item_reference", "id": item["id"]}


async def test_the_ai_sdks_provider_holds_a_conversation_with_its_default_settings(gateway: Served) -> None:
    request = json.dumps({"base": f"{gateway.url}/openai/v1", "turns": TURNS})
    process = await asyncio.create_subprocess_exec(
        NODE, "ai-sdk-provider.mjs", request, cwd=FOLDER, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    printed, errors = await process.communicate()
    assert (printed.decode().splitlines(), errors) == ([f'"answer {turn}"' for turn in range(TURNS)], b"")
    path = [pair for turn in range(TURNS) for pair in (("user", f"question {turn}"), ("assistant", f"answer {turn}"))]
    assert seen[-1] == path[:-1]


async def test_a_reference_stands_for_the_whole_item(gateway: Served) -> None:
    output = (await respond(gateway, model="travels", input="go", **QUICK)).json()["output"]
    repeated = [*output, {"role": "user", "content": "on"}]
    named = [*map(reference, output), {"role": "user", "content": "on"}]
    for given in (repeated, named):
        assert (await respond(gateway, input=given)).status_code == 200
    assert seen[0] == seen[1]
    assert [role for role, _ in seen[0]] == ["assistant", "assistant", "tool", "assistant", "tool", "assistant", "user"]


async def test_an_item_of_another_caller_is_an_unknown_one(gateway: Served) -> None:
    [*_, item] = (await respond(gateway, input="mine")).json()["output"]
    unknown = {"type": "item_reference", "id": f"msg_{'x' * 38}_1763683200123_2_0"}
    refused = [await respond(gateway, "bob", input=[given]) for given in (reference(item), unknown)]
    assert [answer.status_code for answer in refused] == [400, 400]
    assert refused[0].content == refused[1].content
    assert refused[0].json()["error"]["param"] == "input.0.id"


async def test_repeated_references_do_not_grow_beyond_the_limit_of_a_body(gateway: Served) -> None:
    output = (await respond(gateway, model="travels", input="go", temperature=0)).json()["output"]
    refused = await respond(gateway, input=[reference(output[-1])] * 5_000)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "input")
    assert "1048576 bytes" in refused.json()["error"]["message"]


async def test_the_responses_that_a_request_refers_to_are_limited(
    gateway: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(references, "MAX_RESPONSES", 2)
    ids = [f"msg_{'x' * 37}{number}_1763683200123_2_0" for number in range(3)]
    refused = await respond(gateway, input=[{"type": "item_reference", "id": name} for name in ids])
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "input")
