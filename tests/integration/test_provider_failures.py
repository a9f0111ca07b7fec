"""How each failure of a provider ends, from the provider over HTTP through a worker to a viewer: docs/providers.md.

Every scene checks, too, that no key was seen by anybody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.aimock import call, rounds, says
from tests.support.provider_relay import Cut, End, OnFrame
from tests.support.provider_stage import KEYS, Scene, Stage, Viewer, stage_in

OTHER = {"openai": "anthropic", "anthropic": "openai"}
PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}
CALLING = {"toolCalls": [call("call_1", "calculator", expression="17 + 25")]}
CUT = "was cut in the middle of its answer"

Harm = Callable[[Viewer], OnFrame]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage_in(tmp_path_factory.mktemp("stage")) as stage:
        yield stage


@pytest.fixture(params=OTHER)
def agent(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


async def cut(frame: bytes) -> bytes:
    raise Cut


async def stall(frame: bytes) -> bytes:
    await asyncio.Event().wait()
    return frame


async def garble(frame: bytes) -> bytes:
    named = b"event: content_block_delta\n" if frame.startswith(b"event:") else b""
    raise End(named + b'data: {"not": json\n\n')


def once(harm: OnFrame, after: int = 0, of: str = "text.delta") -> Harm:
    """Harm the first answer, once so many deltas of it were heard; then leave the provider alone."""

    def to(viewer: Viewer) -> OnFrame:
        harmed: list[bytes] = []

        async def on_frame(frame: bytes) -> bytes:
            if harmed or len(viewer.of(of)) < after:
                return frame
            harmed.append(frame)
            return await harm(frame)

        return on_frame

    return to


def refusal(status: int, kind: str, **more: Any) -> dict[str, Any]:
    """The provider refuses, and repeats the keys as some do."""
    error = {"message": f"Not now, {' and '.join(KEYS.values())}", "type": kind}
    return {"error": error, "status": status, **more}


def statuses(scene: Scene) -> list[str]:
    return [event["message"] for event in scene.viewer.of("status")]


class TestBeforeTheFirstToken:
    async def test_a_429_is_tried_again_when_the_provider_says(self, stage: Stage, agent: str) -> None:
        async with stage.scene() as scene:
            busy = refusal(429, "rate_limit_error", retryAfter=1)
            await scene.aimock.answer(
                {"match": {"userMessage": "hi", "sequenceIndex": 0}, "response": busy}, says("Now then", to="hi")
            )
            state = await scene.job(agent)

            assert state["result"]["text"] == "Now then"
            assert scene.viewer.kinds() == ["job.started", "status", "text.delta", "usage", "job.completed"]
            [told] = statuses(scene)
            assert "answered 429 (rate_limit_error): Not now, [removed] and [removed]. Try 2 of 3 follows in 1" in told
            first, second = scene.relay.times_s
            assert second - first >= 1

    async def test_one_that_asks_for_a_long_wait_fails_at_once(self, stage: Stage, agent: str) -> None:
        async with stage.scene() as scene:
            busy = refusal(429, "rate_limit_error", retryAfter=600)
            await scene.aimock.answer({"match": {"userMessage": "hi"}, "response": busy})
            state = await scene.job(agent)

            assert state["error"]["code"] == "provider_rate_limited"
            assert state["error"]["retryable"] is True
            assert "asks to be left alone for 600 s" in state["error"]["message"]
            assert len(scene.relay.requests) == 1

    async def test_a_529_that_stays_fails_after_three_tries(self, stage: Stage, agent: str) -> None:
        async with stage.scene() as scene:
            await scene.aimock.answer({"match": {"userMessage": "hi"}, "response": refusal(529, "overloaded_error")})
            state = await scene.job(agent)

            assert state["status"] == "failed"
            assert (state["error"]["code"], state["error"]["retryable"]) == ("provider_overloaded", True)
            assert scene.viewer.kinds() == ["job.started", "status", "job.failed"]
            assert len(scene.relay.requests) == 3

    @pytest.mark.parametrize("retries", [0, 1])
    async def test_the_number_of_tries_is_an_option(self, stage: Stage, agent: str, retries: int) -> None:
        async with stage.scene() as scene:
            await scene.aimock.answer({"match": {"userMessage": "hi"}, "response": refusal(529, "overloaded_error")})
            await scene.job(agent, retries=retries)

            assert len(scene.relay.requests) == retries + 1

    @pytest.mark.parametrize(("status", "kind"), [(401, "authentication_error"), (400, "invalid_request_error")])
    async def test_what_does_not_pass_by_itself_is_not_tried_again(
        self, stage: Stage, agent: str, status: int, kind: str
    ) -> None:
        async with stage.scene() as scene:
            await scene.aimock.answer({"match": {"userMessage": "hi"}, "response": refusal(status, kind)})
            state = await scene.job(agent)

            assert state["error"]["retryable"] is False
            assert "Not now, [removed] and [removed]" in state["error"]["message"]
            assert len(scene.relay.requests) == 1

    @pytest.mark.parametrize("harm", [cut, stall, garble])
    async def test_an_answer_that_breaks_off_before_it_says_anything_is_asked_for_again(
        self, stage: Stage, agent: str, harm: OnFrame
    ) -> None:
        async with stage.scene(once(harm)) as scene:
            await scene.aimock.answer(says("abc", to="hi", chunkSize=1))
            state = await scene.job(agent, idle_timeout_s=2)

            assert state["error"] is None
            assert state["result"]["text"] == "abc"
            assert scene.viewer.joined("text.delta") == "abc"
            assert len(scene.relay.requests) == 2


class TestAfterTheFirstToken:
    @pytest.mark.parametrize(
        ("harm", "code"),
        [(cut, "provider_stream_cut"), (stall, "provider_timeout"), (garble, "provider_bad_response")],
    )
    async def test_the_job_fails_and_the_partial_text_stays(
        self, stage: Stage, agent: str, harm: OnFrame, code: str
    ) -> None:
        async with stage.scene(once(harm, after=3)) as scene:
            await scene.aimock.answer(says("abcdef", to="hi", chunkSize=1))
            state = await scene.job(agent, idle_timeout_s=2)

            assert scene.viewer.kinds() == ["job.started", "text.delta", "job.failed"]
            assert scene.viewer.joined("text.delta") == "abc"
            assert scene.viewer.end["error"] == state["error"]
            assert (state["error"]["code"], state["error"]["retryable"]) == (code, True)
            assert len(scene.relay.requests) == 1
            messages = await scene.messages(state["session_id"])
            assert [message["content"] for message in messages] == ["hi", "abc"]

    async def test_a_tool_call_that_is_cut_in_its_json_fails_and_never_runs(self, stage: Stage, agent: str) -> None:
        async with stage.scene(once(cut, after=2, of="tool.arguments.delta")) as scene:
            await scene.aimock.answer(*rounds("hi", CALLING, {"content": "no"}, chunkSize=4))
            state = await scene.job(agent, tools=["calculator"])

            kinds = ["job.started", "tool.started", "tool.arguments.delta", "tool.failed", "job.failed"]
            assert scene.viewer.kinds() == kinds
            assert CUT in scene.viewer.of("tool.failed")[0]["error"]
            assert state["error"]["code"] == "provider_stream_cut"
            assert [message["role"] for message in await scene.messages(state["session_id"])] == ["user"]


class TestFallback:
    async def test_another_model_answers_anew_in_a_part_of_its_own(self, stage: Stage, agent: str) -> None:
        async with stage.scene(once(cut, after=3)) as scene:
            await scene.aimock.answer(says("abcdef", to="hi", chunkSize=1))
            state = await scene.job(agent, system="Be brief", on_failure=OTHER[agent])

            viewer = scene.viewer
            kinds = ["job.started", "text.delta", "fallback", "text.delta", "usage", "job.completed"]
            assert viewer.kinds() == kinds
            [fallback] = viewer.of("fallback")
            assert fallback["to"] == OTHER[agent]
            assert CUT in fallback["reason"]
            assert [(event["part"], event["text"]) for event in viewer.of("text.delta")] == [
                *((0, piece) for piece in "abc"),
                *((1, piece) for piece in "abcdef"),
            ]
            assert state["result"] == {"text": "abcdef", "finish_reason": "stop"}
            assert scene.relay.paths == [PATHS[agent], PATHS[OTHER[agent]]]
            assert "abc" not in str(scene.relay.requests[1]["messages"])
            assert "Be brief" in str(scene.relay.requests[1])
            messages = await scene.messages(state["session_id"])
            assert [message["content"] for message in messages] == ["hi", "abc", "abcdef"]

    async def test_the_same_model_answers_without_streaming(self, stage: Stage, agent: str) -> None:
        async with stage.scene(once(stall, after=3)) as scene:
            await scene.aimock.answer(says("abcdef", to="hi", chunkSize=1))
            state = await scene.job(agent, idle_timeout_s=2, on_failure="non_streamed")

            viewer = scene.viewer
            assert viewer.of("fallback")[0]["to"] == "non_streamed"
            assert [(event["part"], event["text"]) for event in viewer.of("text.delta")] == [
                *((0, piece) for piece in "abc"),
                (1, "abcdef"),
            ]
            assert state["result"]["text"] == "abcdef"
            assert [request.get("stream", False) for request in scene.relay.requests] == [True, False]

    async def test_a_tool_loop_goes_on_without_streaming(self, stage: Stage, agent: str) -> None:
        async with stage.scene(once(cut, after=2, of="tool.arguments.delta")) as scene:
            thinking = {"reasoning": "I add", "content": "One moment"}
            await scene.aimock.answer(*rounds("hi", CALLING | thinking, {"content": "It is 42"}, chunkSize=4))
            state = await scene.job(agent, tools=["calculator"], on_failure=["non_streamed"])

            viewer = scene.viewer
            assert state["result"]["text"] == "It is 42"
            assert len(viewer.of("tool.started")) == 2
            assert [event["arguments"] for event in viewer.of("tool.called")] == [{"expression": "17 + 25"}]
            assert [event["result"] for event in viewer.of("tool.result")] == [42]
            assert len(viewer.of("tool.failed")) == 1
            roles = [message["role"] for message in await scene.messages(state["session_id"])]
            assert roles == ["user", "assistant", "assistant", "tool", "assistant"]

    async def test_the_next_model_is_told_of_the_calls_so_far(self, stage: Stage, agent: str) -> None:
        async with stage.scene(once(cut, after=2)) as scene:
            await scene.aimock.answer(*rounds("hi", CALLING, {"content": "It is 42"}, chunkSize=3))
            state = await scene.job(agent, tools=["calculator"], on_failure=[OTHER[agent]])

            assert state["result"]["text"] == "It is 42"
            assert [event["result"] for event in scene.viewer.of("tool.result")] == [42]
            assert scene.relay.paths == [PATHS[agent], PATHS[agent], PATHS[OTHER[agent]]]
            heard = str(scene.relay.requests[2]["messages"])
            assert heard.index("17 + 25") < heard.index("'42'")

    async def test_what_takes_over_is_tried_in_its_order_until_none_is_left(self, stage: Stage, agent: str) -> None:
        async with stage.scene() as scene:
            await scene.aimock.answer({"match": {"userMessage": "hi"}, "response": refusal(401, "permission_error")})
            others = ["non_streamed", f"{agent}:second", f"{OTHER[agent]}:third"]
            state = await scene.job(agent, on_failure=others, temperature=0.5)

            # not to stream helps nobody against a refused key
            assert [event["to"] for event in scene.viewer.of("fallback")] == others[1:]
            assert [request["model"] for request in scene.relay.requests][1:] == ["second", "third"]
            assert [request.get("temperature") for request in scene.relay.requests] == [0.5, 0.5, None]
            assert state["error"]["code"] == "provider_refused_key"
            assert scene.viewer.kinds() == ["job.started", "fallback", "job.failed"]
