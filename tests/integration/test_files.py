"""A file that a client sends reaches the agent whole, or is refused with one sentence that says so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import openai
import orjson
import pytest
from holdfast.worker import Run, agent
from holdfast.worker.adapters import langchain
from holdfast.worker.sdk.registry import Agent
from langchain_core.runnables import RunnableLambda

from tests.support.ag_ui import ag_ui_clients
from tests.support.ai_sdk import ai_chats
from tests.support.served import Served, served
from tests.support.workers import Client, worker_on

DATA = "data:image/png;base64,AA=="
SENTENCE = "this agent takes no files or images, only text"
AI_SDK: Any = {"type": "file", "mediaType": "image/png", "url": DATA}
AG_UI: Any = {"type": "image", "source": {"type": "data", "value": "AA==", "mimeType": "image/png"}}
BINARY = {"type": "binary", "mimeType": "image/png", "data": "AA=="}  # which HttpAgent sends as the one above
COMPLETIONS: list[Any] = [
    {"type": "image_url", "image_url": {"url": DATA}},
    {"type": "file", "file": {"filename": "a.png", "file_data": DATA}},
]
RESPONSES: list[Any] = [
    {"type": "input_image", "image_url": DATA, "detail": "auto"},
    {"type": "input_file", "filename": "a.png", "file_data": DATA},
]
TEXT: Any = {"type": "text", "text": "What is it?"}


@agent
async def reads(run: Run) -> str:
    """A chat agent, which takes text."""
    return str(run.input)


@agent(input={"type": "string"})
async def hears(run: Run) -> str:
    """Takes a single text."""
    return str(run.input)


@agent(input={"type": ["string", "object"]})
async def looks(run: Run) -> str:
    """Takes everything, and returns the file of its message."""
    assert isinstance(run.input, dict)
    [file] = [part for part in run.input["messages"][-1]["content"] if part["type"] != "text"]
    return orjson.dumps(file).decode()


@agent(input={"type": "object", "required": ["city"]})
async def travels(run: Run) -> str:
    """Takes a city."""
    return str(run.input)


adapted: Any = langchain.agent("adapted", RunnableLambda(str), input={"type": ["string", "object"]})


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    client = Client(redis_url)
    marked: list[Any] = [reads, hears, looks, travels, asks, adapted]
    agents: list[Agent] = [one.__holdfast_agent__ for one in marked]
    async with served(redis_url) as gateway, worker_on(redis_url, agents):
        await client.offered("reads", "hears", "looks", "travels", "asks", "adapted")
        yield gateway
    await client.close()


@pytest.mark.parametrize("agent", ["reads", "hears"])
@pytest.mark.parametrize("version", ["v6", "v7"])
async def test_a_file_of_use_chat_is_refused_in_one_sentence(gateway: Served, version: str, agent: str) -> None:
    async with ai_chats() as chats:
        chat = await chats(version, gateway.url, "c1", agent=agent)
        await chat.do("send", text="What is it?", files=[AI_SDK])
        state = await chat.ended()
    assert str(state["error"]).endswith(f"messages: {SENTENCE}")


@pytest.mark.parametrize("version", ["v6", "v7"])
async def test_a_file_of_use_chat_reaches_an_agent_that_takes_it(gateway: Served, version: str) -> None:
    async with ai_chats() as chats:
        chat = await chats(version, gateway.url, "c1", agent="looks")
        await chat.do("send", text="What is it?", files=[AI_SDK])
        state = await chat.ended()
    [*_, part] = state["messages"][-1]["parts"]
    sent = next(part for part in state["messages"][0]["parts"] if part["type"] == "file")
    assert (orjson.loads(part["text"]), sent["url"]) == (sent, DATA)


@pytest.mark.parametrize("agent", ["reads", "hears"])
@pytest.mark.parametrize("part", [AG_UI, BINARY])
async def test_an_image_of_http_agent_is_refused_in_one_sentence(gateway: Served, part: Any, agent: str) -> None:
    async with ag_ui_clients() as clients:
        client = await clients("http", gateway.url, "t1", agent=agent)
        await client.do("send", text=[TEXT, part])
        assert f"messages: {SENTENCE}" in str((await client.ended())["error"])


@pytest.mark.parametrize("part", [AG_UI, BINARY])
async def test_an_image_of_http_agent_reaches_an_agent_that_takes_it(gateway: Served, part: Any) -> None:
    async with ag_ui_clients() as clients:
        client = await clients("http", gateway.url, "t1", agent="looks")
        await client.do("send", text=[TEXT, part])
        ended = await client.ended()
    assert orjson.loads(ended["messages"][-1]["content"]) == AG_UI


def message_of(error: Any) -> str:
    return str(error.body["message"])


def completion(part: Any) -> Any:
    return [{"role": "user", "content": [TEXT, part]}]


def response(part: Any) -> Any:
    return [{"role": "user", "content": [{"type": "input_text", "text": "What is it?"}, part]}]


@pytest.mark.parametrize("model", ["reads", "hears"])
async def test_a_file_of_openai_is_refused_in_one_sentence(sdk: Any, model: str) -> None:
    for part in COMPLETIONS:
        with pytest.raises(openai.BadRequestError) as refused:
            await sdk.chat.completions.create(model=model, messages=completion(part))
        assert message_of(refused.value) == f"messages: {SENTENCE}"
    for part in RESPONSES:
        with pytest.raises(openai.BadRequestError) as refused:
            await sdk.responses.create(model=model, input=response(part))
        assert message_of(refused.value) == f"input: {SENTENCE}"


async def test_a_file_of_openai_reaches_an_agent_that_takes_it(sdk: Any) -> None:
    for part in COMPLETIONS:
        whole = await sdk.chat.completions.create(model="looks", messages=completion(part))
        assert orjson.loads(whole.choices[0].message.content) == part
    for part in RESPONSES:
        answer = await sdk.responses.create(model="looks", input=response(part))
        assert orjson.loads(answer.output_text) == part


@agent
async def asks(run: Run) -> str:
    """Asks for a text."""
    return str(await run.ask("What?"))


async def test_a_file_in_the_answer_to_a_question_of_a_completion_is_refused(sdk: Any) -> None:
    asked = await sdk.chat.completions.create(model="asks", messages=completion(TEXT))
    [call] = asked.choices[0].message.tool_calls
    answer = {"role": "tool", "tool_call_id": call.id, "content": [TEXT, COMPLETIONS[0]]}
    with pytest.raises(openai.BadRequestError) as refused:
        await sdk.chat.completions.create(model="asks", messages=[*completion(TEXT), answer])
    assert "messages.1.content.1: an answer has no files or images, only text" in message_of(refused.value)
    text: Any = {**answer, "content": [TEXT]}
    whole = await sdk.chat.completions.create(model="asks", messages=[*completion(TEXT), text])
    assert whole.choices[0].message.content == "What is it?"


async def test_a_file_of_the_native_api_is_refused_at_its_place(gateway: Served) -> None:
    body = {"agent": "reads", "input": {"messages": completion(COMPLETIONS[0])}}
    refused = await gateway.client.post("/v1/jobs", json=body)
    [problem] = refused.json()["errors"]
    assert problem == {"field": "input.messages.0.content.1", "detail": SENTENCE}


async def test_what_else_an_agent_does_not_take_is_not_put_down_to_a_file(gateway: Served) -> None:
    body = {"agent": "travels", "input": {"messages": completion(COMPLETIONS[0])}}
    refused = await gateway.client.post("/v1/jobs", json=body)
    assert refused.json()["errors"] == [{"field": "input", "detail": "city is required"}]


async def test_an_adapter_that_is_given_a_file_says_so(sdk: Any) -> None:
    with pytest.raises(openai.APIStatusError) as failed:
        await sdk.chat.completions.create(model="adapted", messages=completion(COMPLETIONS[0]))
    assert f"messages.0.content.1: {SENTENCE}" in str(failed.value)
