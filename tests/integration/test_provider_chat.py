"""The `openai` and `anthropic` agents on their real SDKs, against a fake provider over HTTP: what both do alike."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from holdfast.worker.agents import provider_errors
from holdfast.worker.agents.chat import chat_agent
from holdfast.worker.agents.models import known_models
from holdfast.worker.sdk.run import AgentError
from holdfast.worker.sdk.tools import tool

from tests.support.aimock import Aimock, aimock_in, call, rounds, says
from tests.support.ports import free_port
from tests.support.provider_relay import Cut, End, OnFrame, Pace, Relay, pass_on, relayed
from tests.support.record import Record, a_run

KEY = "a-key-that-must-never-be-seen"
MODELS = known_models()
AGENTS = {name: chat_agent(model, MODELS) for name, model in MODELS.items()}
EMOJI = "Grüße 👩‍🚀🚀 an alle 🌍!"


@pytest.fixture(scope="module")
def aimock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aimock]:
    with aimock_in(tmp_path_factory.mktemp("aimock")) as running:
        yield running


@pytest.fixture(params=AGENTS)
def provider(request: pytest.FixtureRequest, aimock: Aimock, monkeypatch: pytest.MonkeyPatch) -> Provider:
    provider = Provider(request.param, aimock, monkeypatch)
    provider.at(aimock.url)
    return provider


@dataclass
class Provider:
    """One of the two providers, behind its agent."""

    name: str
    aimock: Aimock
    patch: pytest.MonkeyPatch

    def at(self, url: str) -> None:
        """Where the SDK looks for it, by the SDK's own variables."""
        self.patch.setenv("OPENAI_BASE_URL", f"{url}/v1")
        self.patch.setenv("OPENAI_API_KEY", KEY)
        self.patch.setenv("ANTHROPIC_BASE_URL", url)
        self.patch.setenv("ANTHROPIC_API_KEY", KEY)

    async def run(self, record: Record, input: Any = "hi", **given: Any) -> dict[str, Any]:
        result: dict[str, Any] = await AGENTS[self.name](a_run(record, input, **given))
        return result

    async def fails(self, record: Record, **options: Any) -> AgentError:
        with pytest.raises(AgentError) as raised:
            await self.run(record, **options)
        return raised.value

    @asynccontextmanager
    async def behind(self, on_frame: OnFrame = pass_on) -> AsyncIterator[Relay]:
        async with relayed(self.aimock.url, on_frame) as relay:
            self.at(relay.url)
            yield relay


@pytest.fixture
def record() -> Record:
    return Record()


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two tries there is a wait, which tests need not."""
    monkeypatch.setattr(provider_errors, "next_wait_s", lambda *_: 0)


class TestSpeaking:
    async def test_text_and_reasoning_arrive_in_numbered_blocks_with_usage(
        self, provider: Provider, record: Record
    ) -> None:
        usage = {"input_tokens": 12, "output_tokens": 5, "prompt_tokens": 12, "completion_tokens": 5}
        response = {"content": "Hello, world", "reasoning": "They greet me", "usage": usage}
        await provider.aimock.answer({"match": {"userMessage": "hi"}, "response": response, "chunkSize": 4})

        result = await provider.run(record)

        assert result == {"text": "Hello, world", "finish_reason": "stop"}
        assert record.kinds() == ["reasoning.delta", "text.delta", "usage"]
        assert record.joined("reasoning.delta") == "They greet me"
        assert [event["text"] for event in record.of("text.delta")] == ["Hell", "o, w", "orld"]
        assert {event["part"] for event in record.of("text.delta") + record.of("reasoning.delta")} == {0}
        [used] = record.of("usage")
        assert (used["input_tokens"], used["output_tokens"]) == (12, 5)
        assert used["model"] in {"gpt-5.4-mini", "claude-sonnet-5"}

    async def test_text_that_is_cut_inside_a_character_arrives_whole(self, provider: Provider, record: Record) -> None:
        await provider.aimock.answer(says(EMOJI, to="hi", chunkSize=1))

        assert (await provider.run(record))["text"] == EMOJI
        assert record.joined("text.delta") == EMOJI

    async def test_the_session_s_history_and_the_system_prompt_precede_the_input(
        self, provider: Provider, record: Record
    ) -> None:
        await provider.aimock.answer(says("Rome, then", to="And there?"))
        history = [
            {"role": "user", "content": "Weather?", "job_id": "j0"},
            {
                "role": "assistant",
                "content": "I look",
                "tool_calls": [{"call_id": "functions.look:0", "name": "look", "arguments": {"at": "sky"}}],
            },
            {"role": "tool", "call_id": "functions.look:0", "name": "look", "content": "blue"},
            {"role": "assistant", "content": "Fine"},
        ]
        async with provider.behind() as relay:
            await provider.run(
                record, {"messages": [{"role": "user", "content": "And there?"}]}, history=history, system="Be brief"
            )

        [request] = relay.requests
        assert request.get("system", "Be brief") == "Be brief"
        assert _heard(provider.name, request) == [
            *([("system", "Be brief")] if provider.name == "openai" else []),
            ("user", "Weather?"),
            ("assistant", "I look", {"at": "sky"}),
            ("tool", "blue"),
            ("assistant", "Fine"),
            ("user", "And there?"),
        ]

    async def test_options_reach_the_provider(self, provider: Provider, record: Record) -> None:
        await provider.aimock.answer(says("ok", to="hi"))
        async with provider.behind() as relay:
            await provider.run(record, model="o5-custom", max_tokens=77, temperature=0.5, tools=["calculator"])

        [request] = relay.requests
        assert (request["model"], request["max_tokens"], request["temperature"]) == ("o5-custom", 77, 0.5)
        [described] = request["tools"]
        assert "calculator" in str(described)
        assert "expression" in str(described)

    async def test_a_model_that_reaches_max_tokens_says_so_in_the_result(
        self, provider: Provider, record: Record
    ) -> None:
        response = {"content": "Once upon", "finishReason": "length"}
        await provider.aimock.answer({"match": {"userMessage": "hi"}, "response": response})

        assert await provider.run(record) == {"text": "Once upon", "finish_reason": "length"}

    async def test_a_cancelled_job_closes_its_connection(self, provider: Provider, record: Record) -> None:
        await provider.aimock.answer(says("abcdef", to="hi", chunkSize=1))

        async def stall_after_the_first_delta(frame: bytes) -> bytes:
            if record.of("text.delta"):
                await asyncio.Event().wait()
            return frame

        async with provider.behind(stall_after_the_first_delta) as relay:
            running = asyncio.create_task(provider.run(record))
            await record.until(1, "text.delta")
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            await asyncio.wait_for(relay.left.wait(), 30)


class TestTools:
    async def test_two_rounds_of_tool_calls_stream_one_piece_at_a_time(
        self, provider: Provider, record: Record
    ) -> None:
        await provider.aimock.answer(
            *rounds(
                "hi",
                {"reasoning": "First add", "toolCalls": [call("call_1", "calculator", expression="17 + 25")]},
                {"content": "Now double", "toolCalls": [call("call_2", "calculator", expression="42 * 2")]},
                {"reasoning": "Done", "content": "It is 84"},
                chunkSize=3,
            )
        )
        async with provider.behind(Pace(record)) as relay:
            result = await provider.run(record, tools=["calculator", "clock"])

        assert result == {"text": "It is 84", "finish_reason": "stop"}
        tool_round = ["tool.started", "tool.arguments.delta", "usage", "tool.called", "tool.result"]
        rounds_heard = [
            "reasoning.delta",
            *tool_round,
            "text.delta",
            *tool_round,
            "reasoning.delta",
            "text.delta",
            "usage",
        ]
        assert record.kinds() == rounds_heard
        assert [event["result"] for event in record.of("tool.result")] == [42, 84]
        assert [event["arguments"] for event in record.of("tool.called")] == [
            {"expression": "17 + 25"},
            {"expression": "42 * 2"},
        ]
        first = [event["delta"] for event in record.of("tool.arguments.delta") if event["call_id"] == "call_1"]
        assert "".join(first).replace(" ", "") == '{"expression":"17+25"}'
        assert len(first) > 3
        assert [(event["part"], event["text"]) for event in _joined(record, "text.delta")] == [
            (0, "Now double"),
            (1, "It is 84"),
        ]
        assert [(event["part"], event["text"]) for event in _joined(record, "reasoning.delta")] == [
            (0, "First add"),
            (1, "Done"),
        ]
        assert len(relay.requests) == 3

    async def test_the_calls_of_one_turn_run_side_by_side_and_answer_in_their_order(
        self, provider: Provider, record: Record
    ) -> None:
        _meeting[:] = [asyncio.Event()]
        calls = [call("call_1", "meet", name="first"), call("call_2", "meet", name="second")]
        await provider.aimock.answer(*rounds("hi", {"toolCalls": calls}, {"content": "They met"}))

        async with provider.behind() as relay:
            result = await provider.run(record, tools=["meet"])

        assert result["text"] == "They met"
        assert [event["call_id"] for event in record.of("tool.result")] == ["call_2", "call_1"]
        assert _heard(provider.name, relay.requests[1])[-2:] == [("tool", "first met"), ("tool", "second met")]

    @pytest.mark.parametrize(
        ("called", "reason"),
        [
            (call("call_1", "explode", why="it can"), "RuntimeError: it can"),
            (call("call_1", "no_such_tool"), "there is no tool 'no_such_tool'"),
            (call("call_1", "calculator", expr="1"), "expression: Missing required argument"),
            (call("call_1", "calculator", expression="2 +"), "not an arithmetic expression"),
        ],
        ids=["raises", "is unknown", "gets other arguments", "refuses its arguments"],
    )
    async def test_a_tool_that_fails_is_told_to_the_model_and_the_loop_goes_on(
        self, provider: Provider, record: Record, called: dict[str, Any], reason: str
    ) -> None:
        await provider.aimock.answer(*rounds("hi", {"toolCalls": [called]}, {"content": "Never mind"}))

        async with provider.behind() as relay:
            result = await provider.run(record, tools=["explode", "calculator"])

        assert result["text"] == "Never mind"
        [failed] = record.of("tool.failed")
        assert failed["call_id"] == "call_1"
        assert reason in failed["error"]
        assert not record.of("tool.result")
        assert reason in _heard(provider.name, relay.requests[1])[-1][1]

    async def test_arguments_that_are_no_json_fail_the_call_and_tell_the_model(
        self, provider: Provider, record: Record
    ) -> None:
        called = call("call_1", "calculator", expression="cut here")
        await provider.aimock.answer(*rounds("hi", {"toolCalls": [called]}, {"content": "Sorry"}))

        async def garble(frame: bytes) -> bytes:
            return frame.replace(b'\\"}', b"")

        async with provider.behind(garble) as relay:
            result = await provider.run(record, tools=["calculator"])

        assert result["text"] == "Sorry"
        [failed] = record.of("tool.failed")
        assert "not a JSON object" in failed["error"]
        assert "not a JSON object" in _heard(provider.name, relay.requests[1])[-1][1]

    async def test_the_loop_ends_after_max_steps_with_the_last_calls_answered(
        self, provider: Provider, record: Record
    ) -> None:
        calling = {"content": "On it", "toolCalls": [call("call_1", "calculator", expression="1 + 1")]}
        await provider.aimock.answer({"match": {"userMessage": "hi"}, "response": calling})

        result = await provider.run(record, tools=["calculator"], max_steps=1)

        assert result == {"text": "On it", "finish_reason": "max_steps"}
        assert len(record.of("tool.result")) == 1

    async def test_calls_that_max_tokens_cut_off_are_not_run(self, provider: Provider, record: Record) -> None:
        cut = {"toolCalls": [call("call_1", "explode", why="it ran")], "finishReason": "length"}
        await provider.aimock.answer({"match": {"userMessage": "hi"}, "response": cut})

        result = await provider.run(record, tools=["explode"])

        assert result["finish_reason"] == "length"
        [failed] = record.of("tool.failed")
        assert "before the call was complete" in failed["error"]


class TestFailing:
    """What arrived stays; the job fails with a code, a message for a person, and whether another try may help."""

    @pytest.mark.parametrize(
        ("status", "kind", "code", "retryable"),
        [
            (400, "invalid_request_error", "provider_bad_request", False),
            (401, "authentication_error", "provider_refused_key", False),
            (403, "permission_error", "provider_refused_key", False),
            (404, "not_found_error", "provider_bad_request", False),
            (429, "rate_limit_error", "provider_rate_limited", True),
            (429, "insufficient_quota", "provider_quota_exhausted", False),
            (500, "api_error", "provider_unavailable", True),
            (529, "overloaded_error", "provider_overloaded", True),
        ],
    )
    async def test_a_refusal_is_named(
        self, provider: Provider, record: Record, status: int, kind: str, code: str, retryable: bool, no_waits: None
    ) -> None:
        error = {"message": f"No, {KEY}, or Bearer abc123", "type": kind}
        refusal = {"match": {"userMessage": "hi"}, "response": {"error": error, "status": status}}
        await provider.aimock.answer(refusal)

        failure = await provider.fails(record)

        assert (failure.code, failure.retryable) == (code, retryable)
        assert f"answered {status} ({kind}): No, [removed], or [removed]" in failure.message
        assert [event["message"] for event in record.events] == (
            [f"{failure.message}. Try {number} of 3 follows in 0.0 s" for number in (2, 3)] if retryable else []
        )

    async def test_a_passing_refusal_is_tried_again(self, provider: Provider, record: Record, no_waits: None) -> None:
        busy = {"error": {"message": "Busy", "type": "rate_limit_error"}, "status": 429}
        match = {"userMessage": "hi"}
        await provider.aimock.answer(
            {"match": match | {"sequenceIndex": 0}, "response": busy}, says("Now then", to="hi")
        )

        assert (await provider.run(record))["text"] == "Now then"

    @pytest.mark.parametrize("ending", [Cut, End], ids=["torn down", "ended early"])
    async def test_a_connection_that_is_cut_in_the_middle_keeps_what_arrived(
        self, provider: Provider, record: Record, ending: type[Exception]
    ) -> None:
        await provider.aimock.answer(says("abcdef", to="hi", chunkSize=1))

        async def cut(frame: bytes) -> bytes:
            if len(record.of("text.delta")) == 2:
                raise ending
            return frame

        async with provider.behind(Pace(record, then=cut)) as relay:
            failure = await provider.fails(record)

        assert (failure.code, failure.retryable) == ("provider_stream_cut", True)
        assert record.joined("text.delta") == "ab"
        assert len(relay.requests) == 1

    async def test_a_connection_that_is_cut_in_a_tool_call_runs_nothing(
        self, provider: Provider, record: Record
    ) -> None:
        called = call("call_1", "explode", why="it ran")
        await provider.aimock.answer(*rounds("hi", {"toolCalls": [called]}, {"content": "no"}, chunkSize=4))

        async def cut(frame: bytes) -> bytes:
            if len(record.of("tool.arguments.delta")) == 2:
                raise Cut
            return frame

        async with provider.behind(Pace(record, then=cut)):
            failure = await provider.fails(record, tools=["explode"])

        assert failure.code == "provider_stream_cut"
        assert record.kinds() == ["tool.started", "tool.arguments.delta", "tool.failed"]

    async def test_a_silent_provider_is_given_up_on(self, provider: Provider, record: Record) -> None:
        await provider.aimock.answer(says("abcdef", to="hi", chunkSize=1))

        async def stall(frame: bytes) -> bytes:
            if record.of("text.delta"):
                await asyncio.Event().wait()
            return frame

        async with provider.behind(Pace(record, then=stall)):
            failure = await provider.fails(record, idle_timeout_s=2)

        assert (failure.code, failure.retryable) == ("provider_timeout", True)
        assert "sent nothing for 2 s" in failure.message
        assert record.joined("text.delta") == "a"

    @pytest.mark.parametrize(
        "garbage",
        [b"data: {not json\n\n", b"data: [1, 2]\n\n", b"data: " + b"[" * 100_000 + b"\n\n", b"data: \xff\n\n"],
        ids=["no json", "another shape", "bottomless", "no utf-8"],
    )
    async def test_a_frame_that_cannot_be_understood_fails_the_job(
        self, provider: Provider, record: Record, garbage: bytes
    ) -> None:
        await provider.aimock.answer(says("abcdef", to="hi", chunkSize=1))

        async def garble(frame: bytes) -> bytes:
            named = b"event: content_block_delta\n" if provider.name == "anthropic" else b""
            return named + garbage if record.of("text.delta") else frame

        async with provider.behind(Pace(record, then=garble)):
            failure = await provider.fails(record)

        assert (failure.code, failure.retryable) == ("provider_bad_response", True)
        assert record.joined("text.delta") == "a"

    async def test_an_error_in_the_middle_of_an_answer_is_named(self, provider: Provider, record: Record) -> None:
        await provider.aimock.answer(says("abcdef", to="hi", chunkSize=1))

        async def break_off(frame: bytes) -> bytes:
            error = b'data: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
            named = b"event: error\n" if provider.name == "anthropic" else b""
            return named + error if record.of("text.delta") else frame

        async with provider.behind(Pace(record, then=break_off)):
            failure = await provider.fails(record)

        assert (failure.code, failure.retryable) == ("provider_overloaded", True)
        assert "broke off in the middle of its answer (overloaded_error): Overloaded" in failure.message
        assert record.joined("text.delta") == "a"

    async def test_an_unreachable_provider_is_named(self, provider: Provider, record: Record, no_waits: None) -> None:
        provider.at(f"http://127.0.0.1:{free_port()}")

        failure = await provider.fails(record)

        assert (failure.code, failure.retryable) == ("provider_unavailable", True)
        assert "could not be reached" in failure.message

    async def test_a_missing_key_is_named(self, provider: Provider, record: Record) -> None:
        for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
            provider.patch.delenv(variable)

        failure = await provider.fails(record)

        assert (failure.code, failure.retryable) == ("provider_no_key", False)
        assert f"{provider.name.upper()}_API_KEY is not set" in failure.message

    async def test_a_missing_sdk_is_named(self, provider: Provider, record: Record) -> None:
        provider.patch.setitem(sys.modules, f"holdfast.worker.agents.{provider.name}", None)

        failure = await provider.fails(record)

        assert (failure.code, failure.retryable) == ("provider_not_installed", False)
        assert f"install holdfast-gateway[{provider.name}]" in failure.message

    @pytest.mark.parametrize(
        ("options", "named"),
        [
            ({"max_tokens": 0}, "max_tokens"),
            ({"max_tokens": "77"}, "max_tokens"),
            ({"temperature": 3}, "temperature"),
            ({"max_steps": 0}, "max_steps"),
            ({"model": ""}, "model"),
            ({"system": 1}, "system"),
            ({"tools": "calculator"}, "tools"),
            ({"tools": ["abacus"]}, "tools: there is no tool 'abacus'"),
            ({"modle": "x"}, "modle"),
        ],
    )
    async def test_an_option_that_cannot_be_used_is_named(
        self, provider: Provider, record: Record, options: dict[str, Any], named: str
    ) -> None:
        failure = await provider.fails(record, **options)

        assert (failure.code, failure.retryable) == ("options_invalid", False)
        assert named in failure.message

    async def test_the_key_reaches_no_log_line_and_no_event(
        self, provider: Provider, record: Record, caplog: pytest.LogCaptureFixture, no_waits: None
    ) -> None:
        caplog.set_level(logging.DEBUG)
        await provider.aimock.answer(says("abcdef", to="hi"))
        await provider.run(record)
        error = {"message": f"Incorrect key {KEY}", "type": "authentication_error"}
        await provider.aimock.answer({"match": {"userMessage": "hi"}, "response": {"error": error, "status": 401}})
        failure = await provider.fails(record)

        assert KEY not in caplog.text
        assert KEY not in str(record.events)
        assert KEY not in failure.message


_meeting: list[asyncio.Event] = []


@tool
async def meet(name: str) -> str:
    """The first one ends only after the second one."""
    if name == "first":
        await asyncio.wait_for(_meeting[0].wait(), 30)
    else:
        _meeting[0].set()
    return f"{name} met"


@tool
def explode(why: str) -> None:
    """Never works."""
    raise RuntimeError(why)


def _joined(record: Record, kind: str) -> list[dict[str, Any]]:
    """The deltas of each part as one."""
    parts: dict[int, str] = {}
    for event in record.of(kind):
        parts[event["part"]] = parts.get(event["part"], "") + event["text"]
    return [{"part": part, "text": text} for part, text in parts.items()]


def _heard(name: str, request: dict[str, Any]) -> list[tuple[Any, ...]]:
    """The messages of a request to either provider: role, text and the arguments of each tool call."""
    return [heard for message in request["messages"] for heard in _HEARD[name](message)]


def _heard_by_openai(message: dict[str, Any]) -> list[tuple[Any, ...]]:
    calls = [json.loads(call["function"]["arguments"]) for call in message.get("tool_calls", [])]
    return [(message["role"], message["content"], *calls)]


def _heard_by_anthropic(message: dict[str, Any]) -> list[tuple[Any, ...]]:
    blocks = message["content"]
    results = [("tool", block["content"]) for block in blocks if block["type"] == "tool_result"]
    text = "".join(block["text"] for block in blocks if block["type"] == "text")
    calls = [block["input"] for block in blocks if block["type"] == "tool_use"]
    return results + ([(message["role"], text, *calls)] if text or calls else [])


_HEARD = {"openai": _heard_by_openai, "anthropic": _heard_by_anthropic}
