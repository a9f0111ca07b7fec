"""What Haystack has beside its Agent: pipelines, agents as tools, generators that think."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from haystack import Pipeline, component
from haystack.components.agents import Agent
from haystack.components.builders import ChatPromptBuilder
from haystack.components.generators.chat import OpenAIChatGenerator, OpenAIResponsesChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.tools import AgentTool
from holdfast.worker.adapters import haystack

from tests.support.aimock import Aimock, call, rounds, says
from tests.support.record import Record, a_run


@pytest.fixture
async def generator(aimock: Aimock) -> AsyncIterator[OpenAIChatGenerator]:
    generator = OpenAIChatGenerator(model="gpt-5.4-mini")
    yield generator
    await generator.close_async()


async def test_a_pipeline_streams_and_the_text_of_its_reply_is_the_result(
    aimock: Aimock, generator: OpenAIChatGenerator, record: Record
) -> None:
    await aimock.answer(says("Bees fly", to="Tell me about bees", chunkSize=3))
    pipeline = Pipeline()
    pipeline.add_component("prompt", ChatPromptBuilder(template=[ChatMessage.from_user("Tell me about {{topic}}")]))
    pipeline.add_component("model", generator)
    pipeline.connect("prompt.prompt", "model.messages")

    result = await haystack.agent("pipeline", pipeline, to_input=lambda run: {"prompt": {"topic": run.input}})(
        a_run(record, "bees")
    )

    assert [event["text"] for event in record.of("text.delta")] == ["Bee", "s f", "ly"]
    assert result == {"text": "Bees fly"}


async def test_what_a_pipeline_needs_is_filled_from_the_conversation(
    aimock: Aimock, generator: OpenAIChatGenerator, record: Record
) -> None:
    await aimock.answer(says("Three", to="And then?"))
    pipeline = Pipeline()
    pipeline.add_component("model", generator)
    pipeline.add_component("echo", Echo())
    history = [{"role": "user", "content": "One?"}, {"role": "assistant", "content": "Two"}]

    result = await haystack.agent("pipeline", pipeline)(a_run(record, "And then?", history=history))

    assert record.joined("text.delta") == "Three"
    assert result == {"text": "Three"}


async def test_a_pipeline_that_makes_no_reply_gives_its_output(record: Record) -> None:
    pipeline = Pipeline()
    pipeline.add_component("echo", Echo())

    assert await haystack.agent("pipeline", pipeline)(a_run(record, "hi")) == {"output": {"echo": {"echoed": "HI"}}}


async def test_an_agent_that_is_a_tool_speaks_under_its_name(
    aimock: Aimock, generator: OpenAIChatGenerator, record: Record
) -> None:
    ask = call("call_1", "researcher", messages=[{"role": "user", "content": "dig"}])
    await aimock.answer(*rounds("hi", {"toolCalls": [ask]}, {"content": "In short"}), says("Facts", to="dig"))
    researcher = Agent(chat_generator=generator, streaming_callback=haystack.nested("researcher"))
    tool = AgentTool(agent=researcher, name="researcher", description="Digs")
    boss = Agent(chat_generator=generator, tools=[tool])

    await haystack.agent("boss", boss)(a_run(record))

    assert [(event.get("agent"), event["text"]) for event in record.of("text.delta")] == [
        ("researcher", "Facts"),
        (None, "In short"),
    ]
    assert [event["result"] for event in record.of("tool.result")] == ["Facts"]


async def test_reasoning_is_kept_apart_from_text(
    aimock: Aimock, generator: OpenAIChatGenerator, record: Record
) -> None:
    response = {"content": "Blue", "reasoning": "The sky is asked for"}
    await aimock.answer({"match": {"userMessage": "hi"}, "response": response, "chunkSize": 5})
    thinker = Agent(chat_generator=OpenAIResponsesChatGenerator(model="gpt-5.4-mini"))

    await haystack.agent("thinker", thinker)(a_run(record))
    await thinker.close_async()

    assert record.joined("reasoning.delta") == "The sky is asked for"
    assert record.joined("text.delta") == "Blue"


async def test_a_generator_that_does_not_stream_is_heard_all_the_same(record: Record) -> None:
    agent = Agent(chat_generator=Parrot())

    assert await haystack.agent("parrot", agent)(a_run(record, "Polly")) == {"text": "Polly"}
    assert record.joined("text.delta") == "Polly"


async def test_two_jobs_of_one_agent_at_once_do_not_hear_each_other(
    aimock: Aimock, generator: OpenAIChatGenerator
) -> None:
    await aimock.answer(says("first answer", to="one", chunkSize=2), says("second answer", to="two", chunkSize=2))
    agent = haystack.agent("shared", Agent(chat_generator=generator))
    one, two = Record(), Record()

    await asyncio.gather(agent(a_run(one, "one")), agent(a_run(two, "two")))

    assert (one.joined("text.delta"), two.joined("text.delta")) == ("first answer", "second answer")


@component
class Echo:
    @component.output_types(echoed=str)
    def run(self, text: str) -> dict[str, str]:
        return {"echoed": text.upper()}


@component
class Parrot:
    @component.output_types(replies=list[ChatMessage])
    def run(self, messages: list[ChatMessage], **kwargs: Any) -> dict[str, list[ChatMessage]]:
        return {"replies": [ChatMessage.from_assistant(messages[-1].text)]}
