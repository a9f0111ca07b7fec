"""What a Runnable may be: a model, a prompt before it, a chain without any model, a function."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from holdfast.worker.adapters import langchain
from langchain_core.callbacks import adispatch_custom_event
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import Runnable, RunnableGenerator, RunnableLambda
from langchain_openai import ChatOpenAI

from tests.support.aimock import Aimock, says
from tests.support.record import Record, a_run

HISTORY = [{"role": "user", "content": "One?"}, {"role": "assistant", "content": "Two"}]


def _seen(runnable_of: Any) -> tuple[list[Any], Runnable[Any, Any]]:
    """What a model gets to see, and the Runnable around it."""
    seen: list[Any] = []

    def model(prompt: Any) -> str:
        seen.append(prompt)
        return "ok"

    return seen, runnable_of(RunnableLambda(model))


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        (ChatPromptTemplate.from_template("About {topic}"), ["About hi"]),
        (ChatPromptTemplate([MessagesPlaceholder("messages")]), ["One?", "Two", "hi"]),
        (ChatPromptTemplate([("placeholder", "{messages}")]), ["One?", "Two", "hi"]),
        (
            ChatPromptTemplate([MessagesPlaceholder("before"), ("user", "Now: {question}")]),
            ["One?", "Two", "Now: hi"],
        ),
    ],
    ids=["a text", "messages", "optional messages", "both"],
)
async def test_a_prompt_s_variables_are_filled_from_the_conversation(
    record: Record, prompt: ChatPromptTemplate, said: list[str]
) -> None:
    seen, runnable = _seen(lambda model: prompt | model)

    await langchain.agent("prompted", runnable)(a_run(record, history=HISTORY))

    assert [message.content for message in seen[0].messages] == said


async def test_a_function_without_types_gets_the_messages_and_one_of_text_the_text(record: Record) -> None:
    def shout(text: str) -> str:
        return text.upper()

    seen, runnable = _seen(lambda model: model)
    await langchain.agent("plain", runnable)(a_run(record, history=HISTORY))
    assert [message.content for message in seen[0]] == ["One?", "Two", "hi"]

    assert await langchain.agent("shout", RunnableLambda(shout))(a_run(record)) == {"text": "HI"}


async def test_a_model_alone_streams_and_its_message_is_the_result(
    aimock: Aimock, http: httpx2.AsyncClient, record: Record
) -> None:
    await aimock.answer(says("Hello, world", to="hi", chunkSize=4))

    result = await langchain.agent("model", ChatOpenAI(model="gpt-5.4-mini", http_async_client=http))(a_run(record))

    assert [event["text"] for event in record.of("text.delta")] == ["Hell", "o, w", "orld"]
    assert result == {"text": "Hello, world"}


async def test_what_parsers_and_functions_hand_on_is_not_said_again(
    aimock: Aimock, http: httpx2.AsyncClient, record: Record
) -> None:
    await aimock.answer(says("Hello", to="hi", chunkSize=2))
    chain = (
        ChatPromptTemplate.from_template("{text}")
        | ChatOpenAI(model="gpt-5.4-mini", http_async_client=http)
        | StrOutputParser()
    )

    result = await langchain.agent("chain", chain | RunnableLambda(str.upper))(a_run(record))

    assert record.joined("text.delta") == "Hello"
    assert result == {"text": "HELLO"}


async def test_a_chain_without_a_model_speaks_by_what_it_yields(record: Record) -> None:
    async def count(given: AsyncIterator[Any]) -> AsyncIterator[str]:
        async for _ in given:
            for number in range(3):
                yield f"{number} "

    result = await langchain.agent("count", RunnableGenerator(count))(a_run(record))

    assert [event["text"] for event in record.of("text.delta")] == ["0 ", "1 ", "2 "]
    assert result == {"text": "0 1 2 "}


async def test_a_model_that_does_not_stream_is_heard_all_the_same(
    aimock: Aimock, http: httpx2.AsyncClient, record: Record
) -> None:
    await aimock.answer(says("Hello", to="hi"))

    await langchain.agent("whole", ChatOpenAI(model="gpt-5.4-mini", http_async_client=http, disable_streaming=True))(
        a_run(record)
    )

    assert record.joined("text.delta") == "Hello"


async def test_a_model_with_the_tag_nostream_is_not_heard(record: Record) -> None:
    silent = GenericFakeChatModel(messages=iter([AIMessage("a secret query")])).with_config(tags=["nostream"])

    async def ask(messages: list[BaseMessage]) -> str:
        return f"{len((await silent.ainvoke(messages)).text)} characters"

    result = await langchain.agent("quiet", RunnableLambda(ask))(a_run(record))

    assert "secret" not in str(record.events)
    assert result == {"text": "14 characters"}


async def test_an_agent_within_speaks_under_its_name(record: Record) -> None:
    inner = GenericFakeChatModel(messages=iter([AIMessage("facts")])).with_config(
        metadata={"lc_agent_name": "researcher"}
    )
    outer = GenericFakeChatModel(messages=iter([AIMessage("summary")]))

    async def both(messages: list[BaseMessage]) -> str:
        await inner.ainvoke(messages)
        return (await outer.ainvoke(messages)).text

    await langchain.agent("both", RunnableLambda(both))(a_run(record))

    assert [(event.get("agent"), event["text"]) for event in record.of("text.delta")] == [
        ("researcher", "facts"),
        (None, "summary"),
    ]


async def test_custom_events_are_data_for_the_page(record: Record) -> None:
    async def work(messages: list[BaseMessage]) -> str:
        await adispatch_custom_event("outline", ["one", "two"])
        return "done"

    await langchain.agent("working", RunnableLambda(work))(a_run(record))

    [data] = record.of("data")
    assert (data["name"], data["value"]) == ("outline", ["one", "two"])


async def test_reasoning_is_kept_apart_from_text(record: Record) -> None:
    thinking = AIMessage("Blue", additional_kwargs={"reasoning_content": "The sky is asked for"})

    await langchain.agent("deep", GenericFakeChatModel(messages=iter([thinking])))(a_run(record))

    assert record.joined("reasoning.delta") == "The sky is asked for"
    assert record.joined("text.delta") == "Blue"
