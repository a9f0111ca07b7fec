"""From a provider over HTTP, through its SDK, a worker, the log and a gateway, to a viewer of the job's events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from openai import AsyncOpenAI

from tests.support.aimock import call, rounds, says
from tests.support.provider_relay import Cut
from tests.support.provider_stage import Scene, Stage, Viewer, stage_in


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage_in(tmp_path_factory.mktemp("stage")) as stage:
        yield stage


@pytest.mark.parametrize("agent", ["openai", "anthropic"])
async def test_text_reasoning_and_two_rounds_of_tools_reach_a_viewer_while_they_stream(
    stage: Stage, agent: str
) -> None:
    """The provider sends a delta only when the viewer has the one before it."""
    async with stage.scene() as running:
        await running.aimock.answer(
            *rounds(
                "hi",
                {"reasoning": "First add", "toolCalls": [call("call_1", "calculator", expression="17 + 25")]},
                {"content": "Now double", "toolCalls": [call("call_2", "calculator", expression="42 * 2")]},
                {"reasoning": "Done", "content": "It is 84 🚀"},
                chunkSize=3,
            )
        )
        state = await running.job(agent, tools=["calculator"])

        viewer = running.viewer
        tool_round = ["tool.started", "tool.arguments.delta", "usage", "tool.called", "tool.result"]
        answer = ["reasoning.delta", "text.delta", "usage"]
        assert viewer.kinds() == [
            *("job.started", "reasoning.delta", *tool_round, "text.delta", *tool_round, *answer, "job.completed")
        ]
        assert viewer.joined("text.delta") == "Now doubleIt is 84 🚀"
        assert viewer.joined("reasoning.delta") == "First addDone"
        assert [event["result"] for event in viewer.of("tool.result")] == [42, 84]
        assert len(viewer.of("tool.arguments.delta")) > 8
        assert len(set(viewer.ids)) == len(viewer.ids)
        assert state["status"] == "completed"
        assert state["result"] == {"text": "It is 84 🚀", "finish_reason": "stop"}


SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
FORMAT: Any = {"type": "json_schema", "name": "person", "schema": SCHEMA, "strict": False}
WRAPPED: Any = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA, "strict": False}}
ADA = '{"name": "Ada"}'


@pytest.mark.parametrize("stop", ["END", ["END", "STOP"]])
async def test_the_provider_gets_the_stop_sequences_of_an_openai_client(stage: Stage, stop: Any) -> None:
    for agent, name in (("openai", "stop"), ("anthropic", "stop_sequences")):
        async with stage.scene() as running, openai_sdk(running) as sdk:
            await running.aimock.answer(says("Hello", to="hi"))
            await sdk.chat.completions.create(model=agent, messages=[{"role": "user", "content": "hi"}], stop=stop)
            [request] = running.relay.requests
            assert request[name] == (stop if isinstance(stop, list) else [stop])


@pytest.mark.parametrize("api", ["completions", "responses"])
async def test_the_provider_gets_the_format_of_an_openai_client(stage: Stage, api: str) -> None:
    config = {"format": {"type": "json_schema", "schema": SCHEMA}}
    for agent, sent in (("openai", {"response_format": WRAPPED}), ("anthropic", {"output_config": config})):
        async with stage.scene() as running, openai_sdk(running) as sdk:
            await running.aimock.answer(says(ADA, to="hi", chunkSize=100))  # in one: nobody views the job
            if api == "responses":
                await sdk.responses.create(model=agent, input="hi", text={"format": FORMAT})
            else:
                messages: Any = [{"role": "user", "content": "hi"}]
                await sdk.chat.completions.create(model=agent, messages=messages, response_format=WRAPPED)
            [request] = running.relay.requests
            assert sent.items() <= request.items()


async def test_a_format_that_anthropic_does_not_have_is_refused(stage: Stage) -> None:
    async with stage.scene() as running:
        await running.job("anthropic", response_format={"type": "json_object"})
        error = running.viewer.end["error"]
        assert error["code"] == "options_invalid"
        assert "response_format: must be a json_schema with a schema" in error["message"]
        assert running.relay.requests == []


def openai_sdk(running: Scene) -> AsyncOpenAI:
    base = str(running.client.base_url).rstrip("/")
    return AsyncOpenAI(base_url=f"{base}/openai/v1", api_key="none", max_retries=0)


@pytest.mark.parametrize("agent", ["openai", "anthropic"])
async def test_a_budget_ends_an_agent_between_its_calls_of_the_provider(stage: Stage, agent: str) -> None:
    usage = {"input_tokens": 12, "output_tokens": 5, "prompt_tokens": 12, "completion_tokens": 5}
    calls = {"content": "Add", "toolCalls": [call("call_1", "calculator", expression="17 + 25")], "usage": usage}
    async with stage.scene() as running:
        await running.aimock.answer(*rounds("hi", calls, {"content": "It is 42"}))
        state = await running.job(agent, budget={"tokens": 16}, tools=["calculator"])
        assert running.viewer.end["error"]["code"] == "budget_exceeded"
        assert running.viewer.joined("text.delta") == "Add"
        assert len(running.viewer.of("usage")) == 1
        assert running.viewer.of("tool.called") == []
    assert state["budget"]["used"]["tokens"] == 17


@pytest.mark.parametrize("agent", ["openai", "anthropic"])
async def test_a_provider_that_drops_in_the_middle_gives_one_failed_end_and_keeps_the_text(
    stage: Stage, agent: str
) -> None:
    def cut_after_three(viewer: Viewer) -> Any:
        async def cut(frame: bytes) -> bytes:
            if len(viewer.of("text.delta")) == 3:
                raise Cut
            return frame

        return cut

    async with stage.scene(cut_after_three) as running:
        await running.aimock.answer(says("abcdef", to="hi", chunkSize=1))
        state = await running.job(agent)

        viewer = running.viewer
        assert viewer.kinds() == ["job.started", "text.delta", "job.failed"]
        assert viewer.joined("text.delta") == "abc"
        end = viewer.end
        assert end["error"]["code"] == "provider_stream_cut"
        assert end["error"]["retryable"] is True
        assert state["status"] == "failed"
        assert len(running.relay.requests) == 1
        messages = await running.messages(state["session_id"])
        assert [message["content"] for message in messages] == ["hi", "abc"]


@pytest.mark.parametrize("agent", ["openai", "anthropic"])
async def test_a_second_job_of_the_session_goes_on_with_the_conversation(stage: Stage, agent: str) -> None:
    async with stage.scene() as running:
        adding = {"toolCalls": [call("call_1", "calculator", expression="17 + 25")]}
        await running.aimock.answer(*rounds("hi", adding, {"content": "It is 42"}), says("As I said", to="Sure?"))
        first = await running.job(agent, tools=["calculator"])
        second = await running.job(agent, session_id=first["session_id"], input="Sure?")

        assert second["result"]["text"] == "As I said"
        heard = str(running.relay.requests[2]["messages"])
        parts = ["'hi'", "17 + 25", "'42'", "'It is 42'", "'Sure?'"]
        assert sorted(parts, key=heard.index) == parts
