"""A question ends a chat completion, and a message of a tool answers it: the same job continues."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from holdfast.worker import Run

from tests.integration.test_principal import by_header
from tests.support.served import Served, served
from tests.support.workers import Client, worker_on

USER: Any = {"role": "user", "content": "go"}
started: list[str] = []


async def books(run: Run) -> None:
    """Asks two questions, one after the other."""
    started.append(run.job_id)
    await run.text("Where? ")
    await run.usage(10, 1, "none")
    city = await run.ask("Which city?", {"enum": ["Brest", "Faro"]})
    await run.reasoning("Hm. ")
    await run.text(f"{city}. When? ")
    await run.usage(20, 2, "none")
    day = await run.ask("Which day?", {"type": "integer"})
    await run.text(f"On {day}.")
    await run.usage(30, 3, "none")


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    started.clear()
    client = Client(redis_url)
    async with served(redis_url, authenticate=by_header) as gateway, worker_on(redis_url, [books]):
        await client.offered("books")
        yield gateway
    await client.close()


async def complete(sdk: Any, messages: list[Any], *, stream: bool, **fields: Any) -> Any:
    """Return a whole completion, which the SDK's helper assembles from a stream."""
    if not stream:
        return await sdk.chat.completions.create(model="books", messages=messages, **fields)
    asked = {"model": "books", "messages": messages, "stream_options": {"include_usage": True}, **fields}
    async with sdk.chat.completions.stream(**asked) as chunks:
        return await chunks.get_final_completion()


def said(completion: Any) -> tuple[str, str, int]:
    [choice] = completion.choices
    return choice.finish_reason, choice.message.content, completion.usage.prompt_tokens


def tool(completion: Any, answer: str) -> list[Any]:
    """Return the messages by which clients go on after a call."""
    [call] = completion.choices[0].message.tool_calls
    function = {"name": call.function.name, "arguments": call.function.arguments}
    calls = [{"id": call.id, "type": "function", "function": function}]
    return [
        {"role": "assistant", "content": completion.choices[0].message.content, "tool_calls": calls},
        {"role": "tool", "tool_call_id": call.id, "content": answer},
    ]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_tool_message_answers_the_question_of_a_completion_and_continues_its_job(
    sdk: Any, *, stream: bool
) -> None:
    first = await complete(sdk, [USER], stream=stream)
    assert said(first) == ("tool_calls", "Where? ", 10)
    [call] = first.choices[0].message.tool_calls
    asked = {"prompt": "Which city?", "schema": {"enum": ["Brest", "Faro"]}}
    assert (call.function.name, json.loads(call.function.arguments)) == ("question", asked)
    messages = [USER, *tool(first, "Faro")]
    second = await complete(sdk, messages, stream=stream)
    assert said(second) == ("tool_calls", "Faro. When? ", 20)
    third = await complete(sdk, [*messages, *tool(second, "7")], stream=stream)
    assert said(third) == ("stop", "On 7.", 30)
    assert len(started) == 1
    assert first.id == second.id == third.id


@pytest.mark.parametrize("stream", [False, True])
async def test_a_repeated_answer_returns_what_followed_it(sdk: Any, *, stream: bool) -> None:
    first = await complete(sdk, [USER], stream=stream)
    messages = [USER, *tool(first, "Faro")]
    second = await complete(sdk, messages, stream=stream)
    await complete(sdk, [*messages, *tool(second, "7")], stream=stream)
    assert said(await complete(sdk, messages, stream=stream)) == said(second)
    with pytest.raises(openai.ConflictError):
        await complete(sdk, [USER, *tool(first, "Brest")], stream=stream)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_completion_with_the_key_of_one_that_asked_ends_at_the_same_question(sdk: Any, *, stream: bool) -> None:
    key = {"extra_headers": {"Idempotency-Key": "k1"}}
    first = await complete(sdk, [USER], stream=stream, **key)
    await complete(sdk, [USER, *tool(first, "Faro")], stream=stream)
    again = await complete(sdk, [USER], stream=stream, **key)
    assert (said(again), again.choices[0].message.tool_calls) == (said(first), first.choices[0].message.tool_calls)


async def test_an_answer_that_a_question_does_not_allow_is_refused(sdk: Any) -> None:
    first = await complete(sdk, [USER], stream=False)
    with pytest.raises(openai.BadRequestError) as refused:
        await complete(sdk, [USER, *tool(first, "Rome")], stream=False)
    assert refused.value.param == "messages.2.content"


async def test_a_question_of_another_caller_cannot_be_answered(sdk: Any) -> None:
    first = await complete(sdk, [USER], stream=False)
    messages = [USER, *tool(first, "Faro")]
    with pytest.raises(openai.NotFoundError):
        await complete(sdk, messages, stream=False, extra_headers={"x-caller": "bob"})
    with pytest.raises(openai.PermissionDeniedError):
        await complete(sdk, messages, stream=False, extra_headers={"x-rights": "read submit"})
    assert said(await complete(sdk, messages, stream=False))[0] == "tool_calls"
