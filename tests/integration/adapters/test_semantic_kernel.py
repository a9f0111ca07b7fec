"""What only Semantic Kernel has: a kernel without an agent, agents asked from within a function."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from holdfast.worker.adapters import semantic_kernel
from openai import AsyncOpenAI
from semantic_kernel import Kernel
from semantic_kernel.agents import ChatCompletionAgent
from semantic_kernel.connectors.ai.open_ai import OpenAIChatCompletion
from semantic_kernel.contents import ChatHistory
from semantic_kernel.functions import KernelArguments, kernel_function

from tests.support.aimock import Aimock, call, rounds, says
from tests.support.provider_relay import relayed
from tests.support.record import Record, a_run


@pytest.fixture
def service(aimock: Aimock, http: httpx2.AsyncClient) -> OpenAIChatCompletion:
    return OpenAIChatCompletion(ai_model_id="gpt-5.4-mini", async_client=AsyncOpenAI(http_client=http))


class Looking:
    @kernel_function(description="Look somewhere")
    async def look(self, at: str) -> str:
        await semantic_kernel.current_run().status(f"Looking at the {at}")
        return "blue"


async def test_a_kernel_calls_the_functions_of_its_plugins(
    aimock: Aimock, service: OpenAIChatCompletion, record: Record
) -> None:
    await aimock.answer(
        *rounds("hi", {"toolCalls": [call("call_1", "Looking-look", at="sky")]}, {"content": "Blue"}, chunkSize=4)
    )
    kernel = Kernel()
    kernel.add_service(service)
    kernel.add_plugin(Looking(), "Looking")

    assert await semantic_kernel.agent("kernel", kernel)(a_run(record)) == {"text": "Blue"}

    assert [kind for kind in record.kinds() if kind != "usage"] == [
        *("tool.started", "tool.arguments.delta", "tool.called", "status", "tool.result", "text.delta")
    ] or record.kinds()[:2] == ["tool.started", "tool.arguments.delta"]
    assert [event["message"] for event in record.of("status")] == ["Looking at the sky"]
    assert [(event["call_id"], event["result"]) for event in record.of("tool.result")] == [("call_1", "blue")]


async def test_an_agent_s_instructions_are_filled_and_said_first(
    aimock: Aimock, http: httpx2.AsyncClient, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    await aimock.answer(says("ok", to="hi"))
    async with relayed(aimock.url) as relay:
        client = AsyncOpenAI(http_client=http, base_url=f"{relay.url}/v1")
        agent = ChatCompletionAgent(
            service=OpenAIChatCompletion(ai_model_id="gpt-5.4-mini", async_client=client),
            instructions="Speak like {{$who}}",
            arguments=KernelArguments(who="a pirate"),
        )
        await semantic_kernel.agent("pirate", agent)(a_run(record))

    [request] = relay.requests
    assert [(message["role"], message["content"]) for message in request["messages"]] == [
        ("system", "Speak like a pirate"),
        ("user", "hi"),
    ]


async def test_an_agent_that_a_function_asks_speaks_under_its_name(
    aimock: Aimock, service: OpenAIChatCompletion, record: Record
) -> None:
    await aimock.answer(
        *rounds("hi", {"toolCalls": [call("call_1", "Experts-ask", task="dig")]}, {"content": "In short"}),
        says("Facts", to="dig"),
    )
    expert = ChatCompletionAgent(name="expert", service=service)

    class Experts:
        @kernel_function(description="Ask one who knows")
        async def ask(self, task: str) -> str:
            return await semantic_kernel.nested(expert, task)

    boss = ChatCompletionAgent(name="boss", service=service, plugins=[Experts()])
    await semantic_kernel.agent("boss", boss)(a_run(record))

    assert [(event.get("agent"), event["text"]) for event in record.of("text.delta")] == [
        ("expert", "Facts"),
        (None, "In short"),
    ]
    assert [event["result"] for event in record.of("tool.result")] == ["Facts"]


async def test_another_history_can_be_given(aimock: Aimock, service: OpenAIChatCompletion, record: Record) -> None:
    await aimock.answer(says("18 °C", to="Weather in Paris"))

    def history(run: Any) -> ChatHistory:
        given = ChatHistory()
        given.add_user_message(f"Weather in {run.input['city']}")
        return given

    agent = semantic_kernel.agent("weather", ChatCompletionAgent(service=service), to_input=history)

    assert await agent(a_run(record, {"city": "Paris"})) == {"text": "18 °C"}
