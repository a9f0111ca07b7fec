"""What only the OpenAI Agents SDK has: handoffs, agents as tools, structured output."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import orjson
import pytest
from agents import (
    Agent,
    GuardrailFunctionOutput,
    InputGuardrail,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    OutputGuardrail,
    RunContextWrapper,
    ToolGuardrailFunctionOutput,
    ToolInputGuardrail,
    function_tool,
)
from agents.tracing import get_trace_provider
from holdfast.shared.log.conversation import Fold
from holdfast.worker import AgentError, Run
from holdfast.worker.adapters import openai_agents
from openai import AsyncOpenAI
from pydantic import BaseModel

from tests.support.aimock import Aimock, call, rounds, says
from tests.support.provider_relay import relayed
from tests.support.record import Record, a_run


@pytest.fixture
def model(aimock: Aimock, http: httpx2.AsyncClient) -> OpenAIResponsesModel:
    return OpenAIResponsesModel("gpt-5.4-mini", AsyncOpenAI(http_client=http))


async def test_after_a_handoff_events_carry_the_new_agent_s_name(
    aimock: Aimock, model: OpenAIResponsesModel, record: Record
) -> None:
    await aimock.answer(*rounds("hi", {"toolCalls": [call("call_1", "transfer_to_expert")]}, {"content": "I know"}))
    expert = Agent(name="Expert", model=model)
    boss = Agent(name="Boss", model=model, handoffs=[expert])

    assert await openai_agents.agent("boss", boss)(a_run(record)) == {"text": "I know"}

    [said] = record.of("text.delta")
    assert (said["agent"], said["text"]) == ("Expert", "I know")
    [called], [result] = record.of("tool.called"), record.of("tool.result")
    assert (called["name"], called["call_id"]) == ("transfer_to_expert", result["call_id"])


async def test_an_agent_that_is_a_tool_speaks_under_its_name(
    aimock: Aimock, model: OpenAIResponsesModel, record: Record
) -> None:
    await aimock.answer(
        *rounds("hi", {"toolCalls": [call("call_1", "expert", input="dig")]}, {"content": "In short"}),
        says("Facts and more", to="dig", chunkSize=5),
    )
    expert = Agent(name="Expert", model=model).as_tool("expert", "Knows", on_stream=openai_agents.nested)

    await openai_agents.agent("boss", Agent(name="Boss", model=model, tools=[expert]))(a_run(record))

    assert [(event.get("agent"), event["text"]) for event in record.of("text.delta")] == [
        ("Expert", "Facts"),
        ("Expert", " and "),
        ("Expert", "more"),
        (None, "In short"),
    ]
    assert [event["result"] for event in record.of("tool.result")] == ["Facts and more"]


async def test_reasoning_is_kept_apart_from_text(aimock: Aimock, model: OpenAIResponsesModel, record: Record) -> None:
    response = {"content": "Blue", "reasoning": "The sky is asked for"}
    await aimock.answer({"match": {"userMessage": "hi"}, "response": response, "chunkSize": 5})

    await openai_agents.agent("thinker", Agent(name="Thinker", model=model))(a_run(record))

    assert record.joined("reasoning.delta") == "The sky is asked for"
    assert record.joined("text.delta") == "Blue"


async def test_chat_completions_stream_as_responses_do(
    aimock: Aimock, http: httpx2.AsyncClient, record: Record
) -> None:
    turn = {"content": "Let me see", "toolCalls": [call("call_1", "look", at="sky")]}
    await aimock.answer(*rounds("hi", turn, {"content": "Blue"}, chunkSize=4))
    model = OpenAIChatCompletionsModel("gpt-5.4-mini", AsyncOpenAI(http_client=http))

    @function_tool
    async def look(context: RunContextWrapper[Run], at: str) -> str:
        """Look somewhere."""
        await context.context.status(f"Looking at the {at}")
        return "blue"

    settings = ModelSettings(include_usage=True)
    agent = Agent(name="Looker", model=model, model_settings=settings, tools=[look])
    await openai_agents.agent("looker", agent)(a_run(record))

    assert [kind for kind in record.kinds() if kind != "usage"] == [
        *("text.delta", "tool.started", "tool.arguments.delta", "tool.called", "status", "tool.result", "text.delta")
    ]
    assert record.joined("tool.arguments.delta", "delta") == '{"at":"sky"}'
    assert {event["part"] for event in record.of("text.delta")} == {0, 1}


async def test_structured_output_is_the_result(aimock: Aimock, model: OpenAIResponsesModel, record: Record) -> None:
    class Weather(BaseModel):
        celsius: int

    await aimock.answer(says('{"celsius": 18}', to="hi"))
    agent: Agent[Any] = Agent(name="Weather", model=model, output_type=Weather)

    assert await openai_agents.agent("weather", agent)(a_run(record)) == {"output": {"celsius": 18}}


def refuse(*_: Any) -> GuardrailFunctionOutput:
    return GuardrailFunctionOutput({"topic": "homework"}, tripwire_triggered=True)


def refuse_call(_: Any) -> ToolGuardrailFunctionOutput:
    return ToolGuardrailFunctionOutput.raise_exception({"topic": "homework"})


@function_tool(tool_input_guardrails=[ToolInputGuardrail(refuse_call, "homework_check")])
async def solve() -> str:
    """Solve it."""
    return "42"


@pytest.mark.parametrize(
    "guarded",
    [
        {"input_guardrails": [InputGuardrail(refuse, "homework_check")]},
        {"output_guardrails": [OutputGuardrail(refuse, "homework_check")]},
        {"tools": [solve]},
    ],
    ids=["input", "output", "tool"],
)
async def test_a_guardrail_ends_the_job_with_its_own_code_and_what_it_found(
    guarded: dict[str, Any], aimock: Aimock, model: OpenAIResponsesModel, record: Record
) -> None:
    if "tools" in guarded:
        await aimock.answer(*rounds("hi", {"toolCalls": [call("call_1", "solve")]}, {"content": "42"}))
    else:
        await aimock.answer(says("42", to="hi"))
    agent: Agent[Any] = Agent(name="Teacher", model=model, **guarded)

    with pytest.raises(AgentError) as failed:
        await openai_agents.agent("teacher", agent)(a_run(record))

    assert (failed.value.code, failed.value.message) == (
        "guardrail",
        "The guardrail homework_check has stopped the agent",
    )
    [found] = record.of("data")
    assert (found["name"], found["value"]) == (
        "guardrail",
        {"name": "homework_check", "output_info": {"topic": "homework"}},
    )


async def test_a_job_that_is_cancelled_ends_the_run_within(
    aimock: Aimock, model: OpenAIResponsesModel, record: Record
) -> None:
    await aimock.answer(*rounds("hi", {"toolCalls": [call("call_1", "wait")]}, {"content": "never"}))
    waiting, ended = asyncio.Event(), asyncio.Event()

    @function_tool
    async def wait() -> None:
        """Wait for ever."""
        waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    agent = Agent(name="Waiter", model=model, tools=[wait])
    job = asyncio.create_task(openai_agents.agent("waiter", agent)(a_run(record)))
    await asyncio.wait_for(waiting.wait(), 30)
    job.cancel()

    with pytest.raises(asyncio.CancelledError):
        await job
    await asyncio.wait_for(ended.wait(), 30)


def test_nothing_is_traced_to_the_makers_of_the_sdk() -> None:
    assert get_trace_provider().create_trace("a run").export() is None


async def test_what_an_agent_within_a_tool_said_does_not_part_the_call_from_its_answer(
    aimock: Aimock, http: httpx2.AsyncClient, record: Record
) -> None:
    """The history of the next job has the expert's words between the two."""
    await aimock.answer(
        *rounds("hi", {"toolCalls": [call("call_1", "expert", input="dig")]}, {"content": "In short"}),
        says("Facts", to="dig"),
        says("As I said", to="And?"),
    )
    async with relayed(aimock.url) as relay:
        model = OpenAIResponsesModel("gpt-5.4-mini", AsyncOpenAI(http_client=http, base_url=f"{relay.url}/v1"))
        expert = Agent(name="Expert", model=model).as_tool("expert", "Knows", on_stream=openai_agents.nested)
        boss = openai_agents.agent("boss", Agent(name="Boss", model=model, tools=[expert]))
        await boss(a_run(record))
        fold = Fold("j", "hi")
        for event in record.events:
            fold.add(event["type"], orjson.dumps(event))
        history = [orjson.loads(message) for message in fold.messages()]
        relay.requests.clear()
        await boss(a_run(Record(), "And?", history=history))

    [request] = relay.requests
    assert [item.get("content") or item.get("output") or item["call_id"] for item in request["input"]] == [
        *("hi", "call_1", "Facts", "Facts", "In short", "And?")
    ]
