"""Chat completions of OpenAI's two SDKs, which follow one job of the agent `gated` by an idempotency key.

They cannot resume. A question ends a completion, and they answer it. `end` of what they show is the status of the
job, or the code of the error that they raise; `cut` for one without."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import openai
from openai import AsyncOpenAI

from tests.support.followers import Follow, JobAt, Json, Show, Shown
from tests.support.node import FOLDER
from tests.support.node_lines import node_lines

ASKED = "asked"


def completions(gate: Path) -> dict[str, Follow]:
    """Return clients that start the job of this gate, or receive it from its beginning."""
    body = {"model": "gated", "messages": [{"role": "user", "content": str(gate)}], "stream": True}
    key = {"Idempotency-Key": gate.name}
    return {
        "chat completions, Python": partial(completion_python, body, key),
        "chat completions, Node": partial(completion_node, body, key),
    }


async def completion_python(body: Json, key: dict[str, str], job: JobAt, show: Show) -> Shown:
    deltas: list[Json] = []
    end = ASKED
    async with AsyncOpenAI(base_url=f"{job.url}/openai/v1", api_key="none", max_retries=0, timeout=60) as sdk:
        try:
            while end == ASKED:
                given: Any = {**_answered(body, deltas), "extra_headers": key}
                async for chunk in await sdk.chat.completions.create(**given):
                    end = _add(deltas, chunk.to_dict(), show)
            assert end == "completed", "ended early as if it were finished"
        except openai.APIError as error:
            end = error.code or "cut"
    return _shown(deltas, end)


async def completion_node(body: Json, key: dict[str, str], job: JobAt, show: Show) -> Shown:
    deltas: list[Json] = []
    end = ASKED
    while end == ASKED:
        given = {"base": f"{job.url}/openai/v1", "call": "complete", "body": _answered(body, deltas), "headers": key}
        async with node_lines(FOLDER / "openai.mjs", **given) as lines:
            async for line in lines:
                if "event" in line:
                    end = _add(deltas, line["event"], show)
                elif "error" in line:
                    return _shown(deltas, line["error"].get("code") or "cut")
    assert end == "completed", "ended early as if it were finished"
    return _shown(deltas, end)


def _answered(body: Json, deltas: list[Json]) -> Json:
    """Return the body with the answer to the question that ended a completion, if one did."""
    calls = [call for delta in deltas for call in delta.get("tool_calls") or []]
    if not calls:
        return body
    tool = {"role": "tool", "tool_call_id": calls[-1]["id"], "content": "Faro"}
    assistant = {"role": "assistant", "content": "", "tool_calls": [calls[-1]]}
    return {**body, "messages": [*body["messages"], assistant, tool]}


def _add(deltas: list[Json], chunk: Json, show: Show) -> str:
    [choice] = chunk["choices"]
    deltas.append(choice["delta"])
    show(choice["delta"].get("content") or "")
    return {"stop": "completed", "tool_calls": ASKED}.get(choice.get("finish_reason"), "cut")


def _shown(deltas: list[Json], end: str) -> Shown:
    text, reasoning = ("".join(delta.get(name) or "" for delta in deltas) for name in ("content", "reasoning_content"))
    return Shown(text, reasoning, [], end)
