"""What only Pydantic AI has: output tools, retries, agents that a tool runs."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from anthropic import AsyncAnthropic
from holdfast.worker import Run
from holdfast.worker.adapters import pydantic_ai
from pydantic import BaseModel
from pydantic_ai import Agent, RunContext
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

from tests.support.aimock import Aimock, call, rounds, says
from tests.support.record import Record, a_run


@pytest.fixture
def provider(aimock: Aimock, http: httpx2.AsyncClient) -> OpenAIProvider:
    return OpenAIProvider(http_client=http)


@pytest.fixture
def model(provider: OpenAIProvider) -> OpenAIChatModel:
    return OpenAIChatModel("gpt-5.4-mini", provider=provider)


COUNTED = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}


class Weather(BaseModel):
    celsius: int


async def test_structured_output_streams_as_a_call_and_is_the_result(
    aimock: Aimock, model: OpenAIChatModel, record: Record
) -> None:
    final = call("call_1", "final_result", celsius=18)
    await aimock.answer({"match": {"userMessage": "hi"}, "response": {"toolCalls": [final]}, "chunkSize": 4})

    result = await pydantic_ai.agent("weather", Agent(model, output_type=Weather))(a_run(record))

    assert result == {"output": {"celsius": 18}}
    assert record.joined("tool.arguments.delta", "delta") == '{"celsius":18}'
    assert [event["arguments"] for event in record.of("tool.called")] == [{"celsius": 18}]


async def test_arguments_that_the_model_gets_wrong_are_a_failed_call(
    aimock: Aimock, model: OpenAIChatModel, record: Record
) -> None:
    wrong, right = call("call_1", "look", at=7), call("call_2", "look", at="sky")
    await aimock.answer(*rounds("hi", {"toolCalls": [wrong]}, {"toolCalls": [right]}, {"content": "Blue"}))

    def look(at: str) -> str:
        """Look somewhere."""
        return "blue"

    await pydantic_ai.agent("looker", Agent(model, tools=[look]))(a_run(record))

    assert [event["call_id"] for event in record.of("tool.failed")] == ["call_1"]
    assert [event["call_id"] for event in record.of("tool.result")] == ["call_2"]


async def test_an_agent_that_a_tool_runs_speaks_under_its_name(
    aimock: Aimock, model: OpenAIChatModel, record: Record
) -> None:
    await aimock.answer(
        *rounds("hi", {"toolCalls": [call("call_1", "ask_expert", task="dig")]}, {"content": "In short"}),
        says("Facts and more", to="dig", chunkSize=5),
    )
    expert = Agent(model)

    async def ask_expert(context: RunContext[Run], task: str) -> str:
        """Ask one who knows."""
        await context.deps.status("Asking")
        return (await expert.run(task, event_stream_handler=pydantic_ai.nested("expert"))).output

    await pydantic_ai.agent("boss", Agent(model, deps_type=Run, tools=[ask_expert]))(a_run(record))

    assert [(event.get("agent"), event["text"]) for event in record.of("text.delta")] == [
        ("expert", "Facts"),
        ("expert", " and "),
        ("expert", "more"),
        (None, "In short"),
    ]
    assert [event["message"] for event in record.of("status")] == ["Asking"]


async def test_reasoning_is_kept_apart_from_text(aimock: Aimock, provider: OpenAIProvider, record: Record) -> None:
    response = {"content": "Blue", "reasoning": "The sky is asked for"}
    await aimock.answer({"match": {"userMessage": "hi"}, "response": response, "chunkSize": 5})

    thinker = Agent(OpenAIResponsesModel("gpt-5.4-mini", provider=provider))
    await pydantic_ai.agent("thinker", thinker)(a_run(record))

    assert record.joined("reasoning.delta") == "The sky is asked for"
    assert record.joined("text.delta") == "Blue"


async def test_another_input_and_other_deps_can_be_given(
    aimock: Aimock, model: OpenAIChatModel, record: Record
) -> None:
    await aimock.answer(says("18 °C", to="Weather in Paris"))
    seen: list[Any] = []
    agent: Agent[str, str] = Agent(model, deps_type=str)

    @agent.instructions
    def instruct(context: RunContext[str]) -> str:
        seen.append(context.deps)
        return "Be brief"

    def about_a_city(run: Run) -> dict[str, Any]:
        assert isinstance(run.input, dict)
        return {"user_prompt": f"Weather in {run.input['city']}", "deps": run.session_id}

    adapted = pydantic_ai.agent(
        "weather",
        agent,
        input={"type": "object", "required": ["city"]},
        to_input=about_a_city,
    )

    assert await adapted(a_run(record, {"city": "Paris"})) == {"text": "18 °C"}
    assert seen == ["s"]


async def test_the_usage_of_a_model_call_is_reported_before_the_results_of_its_tools(
    aimock: Aimock, model: OpenAIChatModel, record: Record
) -> None:
    """So a budget that it exceeds does not end the job with the run only."""
    turn = {"toolCalls": [call("call_1", "look", at="sky"), call("call_2", "look", at="sea")], "usage": COUNTED}
    await aimock.answer(*rounds("hi", turn, {"content": "Blue", "usage": COUNTED}))

    def look(at: str) -> str:
        """Look somewhere."""
        return "blue"

    await pydantic_ai.agent("looker", Agent(model, tools=[look]))(a_run(record))

    kinds = [event["type"] for event in record.of("usage", "tool.result")]
    assert kinds == ["usage", "tool.result", "tool.result", "usage"]
    assert [used["input_tokens"] for used in record.of("usage")] == [12, 12]


async def test_anthropic_s_thinking_text_and_calls_stream(
    aimock: Aimock, http: httpx2.AsyncClient, record: Record
) -> None:
    turn = {"reasoning": "I have to look", "content": "Let me see", "toolCalls": [call("call_1", "look", at="sky")]}
    await aimock.answer(*rounds("hi", turn, {"content": "Blue"}, chunkSize=4))
    client = AsyncAnthropic(api_key="not-a-key", base_url=aimock.url, http_client=http)

    def look(at: str) -> str:
        """Look somewhere."""
        return "blue"

    model = AnthropicModel("claude-sonnet-5", provider=AnthropicProvider(anthropic_client=client))
    await pydantic_ai.agent("looker", Agent(model, tools=[look]))(a_run(record))

    assert [kind for kind in record.kinds() if kind != "usage"] == [
        *("reasoning.delta", "text.delta", "tool.started", "tool.arguments.delta", "tool.called", "tool.result"),
        "text.delta",
    ]
    assert record.joined("reasoning.delta") == "I have to look"
    assert record.joined("text.delta") == "Let me seeBlue"
    assert record.joined("tool.arguments.delta", "delta") == '{"at":"sky"}'
    assert len(record.of("tool.arguments.delta")) == 3
