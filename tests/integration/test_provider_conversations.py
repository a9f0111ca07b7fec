"""Several jobs of a session are one conversation: what the provider is sent is what GET …/messages tells."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.aimock import Aimock, call, rounds, says
from tests.support.provider_relay import Cut, OnFrame
from tests.support.provider_stage import Stage, Viewer, stage_in

AGENTS = ["openai", "anthropic"]
Said = tuple[Any, ...]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage_in(tmp_path_factory.mktemp("stage")) as stage:
        yield stage


async def sent(aimock: Aimock) -> list[Said]:
    """The messages of the last request, as the provider's journal has them: role, text, calls."""
    *_, last = await aimock.heard()
    return [_said(message) for message in last["body"]["messages"]]


def _said(message: dict[str, Any]) -> Said:
    """A message of either shape; aimock's journal has Anthropic's in OpenAI's words."""
    calls = message.get("tool_calls") or []
    arguments = [call["function"]["arguments"] for call in calls]
    return (
        message["role"],
        message.get("content") or "",
        [(call["id"], json.loads(text)) for call, text in zip(calls, arguments, strict=True)],
        message.get("tool_call_id", ""),
    )


def _texts(request: dict[str, Any]) -> list[str]:
    """The texts of a request to either provider. With Anthropic, neighbours of one role share a message."""
    contents = [message["content"] for message in request["messages"]]
    blocks = [[content] if isinstance(content, str) else [block["text"] for block in content] for content in contents]
    return [text for texts in blocks for text in texts]


def told(messages: list[dict[str, Any]]) -> list[Said]:
    """The same of GET …/messages."""
    return [
        (
            message["role"],
            message["content"],
            [(call["call_id"], call["arguments"]) for call in message.get("tool_calls", [])],
            message.get("call_id", ""),
        )
        for message in messages
    ]


@pytest.mark.parametrize("first", AGENTS)
@pytest.mark.parametrize("then", AGENTS)
async def test_what_the_provider_is_sent_is_what_the_session_tells(stage: Stage, first: str, then: str) -> None:
    """Text, calls side by side, results, a failed tool: from either provider, to either provider."""
    async with stage.scene() as scene:
        calls = [call("call_1", "calculator", expression="17 + 25"), call("call_2", "calculator", expression="1 / 0")]
        await scene.aimock.answer(
            *rounds("hi", {"content": "I add", "toolCalls": calls}, {"content": "It is 42"}), says("Yes", to="Sure?")
        )
        state = await scene.job(first, tools=["calculator"])
        await scene.job(then, input="Sure?", session_id=state["session_id"], tools=["calculator"])

        messages = told(await scene.messages(state["session_id"]))
        assert await sent(scene.aimock) == messages[:-1]
        assert messages[-1] == ("assistant", "Yes", [], "")
        assert [message[0] for message in messages] == [
            *("user", "assistant", "tool", "tool", "assistant"),
            *("user", "assistant"),
        ]


@pytest.mark.parametrize("agent", AGENTS)
async def test_so_it_is_after_a_fallback(stage: Stage, agent: str) -> None:
    def cut_once(viewer: Viewer) -> OnFrame:
        cut = False

        async def on_frame(frame: bytes) -> bytes:
            nonlocal cut
            if len(viewer.of("text.delta")) == 2 and not cut:
                cut = True
                raise Cut
            return frame

        return on_frame

    async with stage.scene(cut_once) as scene:
        await scene.aimock.answer(says("abcd", to="hi", chunkSize=1), says("Yes", to="Sure?"))
        state = await scene.job(agent, on_failure="non_streamed")
        await scene.job(agent, input="Sure?", session_id=state["session_id"])

        texts = [message["content"] for message in await scene.messages(state["session_id"])]
        assert texts == ["hi", "ab", "abcd", "Sure?", "Yes"]
        assert _texts(scene.relay.requests[-1]) == texts[:-1]


@pytest.mark.parametrize("agent", AGENTS)
async def test_of_a_conversation_that_is_too_long_whole_turns_are_left_out(stage: Stage, agent: str) -> None:
    async with stage.scene() as scene:
        calling = {"toolCalls": [call("call_1", "calculator", expression="17 + 25")]}
        await scene.aimock.answer(
            *rounds("hi", calling, {"content": "It is 42"}), says("Yes", to="Sure?"), says("Bye", to="Thanks")
        )
        state = await scene.job(agent, tools=["calculator"])
        session_id = state["session_id"]
        await scene.job(agent, input="Sure?", session_id=session_id)
        await scene.job(agent, input="Thanks", session_id=session_id, system="Be brief", context_tokens=60)

        messages = told(await scene.messages(session_id))
        heard = [message for message in await sent(scene.aimock) if message[0] != "system"]
        assert heard == messages[-4:-1]
        assert heard[0][:2] == ("user", "Sure?")
        assert len(messages) == 8
        assert [event["message"] for event in scene.viewer.of("status")] == [
            "The conversation is too long for the model: its oldest 4 messages are left out"
        ]
