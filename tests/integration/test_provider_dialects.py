"""What only one of the two providers has: Anthropic's signed thinking, the dialects of OpenAI-compatible servers."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

import pytest
from holdfast.worker.agents.chat import chat_agent
from holdfast.worker.agents.models import known_models
from holdfast.worker.agents.openai import OpenAIOptions, new_client, request_options

from tests.support.aimock import Aimock, aimock_in, call, rounds, says
from tests.support.process import Processes
from tests.support.provider_relay import relayed
from tests.support.record import Record, a_run

MODELS = known_models()
openai_agent, anthropic_agent = (chat_agent(MODELS[name], MODELS) for name in ("openai", "anthropic"))
CALCULATING = {"toolCalls": [call("call_1", "calculator", expression="6 * 7")]}


@pytest.fixture(scope="module")
def aimock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aimock]:
    with aimock_in(tmp_path_factory.mktemp("aimock")) as running:
        yield running


@pytest.fixture
def record() -> Record:
    return Record()


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "not-a-key")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "not-a-key")


class TestAnthropic:
    async def test_thinking_goes_back_with_its_signature_between_tool_rounds(
        self, aimock: Aimock, record: Record, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        thinking = {"reasoning": "Six times seven", "reasoningSignature": "c2lnbmVk", "redactedThinking": ["c2VjcmV0"]}
        await aimock.answer(*rounds("hi", {**CALCULATING, **thinking}, {"content": "42"}))
        async with relayed(aimock.url) as relay:
            monkeypatch.setenv("ANTHROPIC_BASE_URL", relay.url)
            # aimock refuses, as Anthropic does, a second request whose thinking lost its signature
            result = await anthropic_agent(a_run(record, tools=["calculator"], thinking=2048))

        assert result["text"] == "42"
        first, second = relay.requests
        assert first["thinking"] == {"type": "enabled", "budget_tokens": 2048}
        assert second["messages"][1]["content"] == [
            {"type": "redacted_thinking", "data": "c2VjcmV0"},
            {"type": "thinking", "thinking": "Six times seven", "signature": "c2lnbmVk"},
            {"type": "tool_use", "id": "call_1", "name": "calculator", "input": {"expression": "6 * 7"}},
        ]

    async def test_a_failed_call_goes_back_as_an_error_beside_the_other_results(
        self, aimock: Aimock, record: Record, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls = [call("call_1", "calculator", expression="1 / 0"), call("call_2", "calculator", expression="2")]
        await aimock.answer(*rounds("hi", {"toolCalls": calls}, {"content": "ok"}))
        async with relayed(aimock.url) as relay:
            monkeypatch.setenv("ANTHROPIC_BASE_URL", relay.url)
            await anthropic_agent(a_run(record, tools=["calculator"]))

        failed = "error: ZeroDivisionError: division by zero"
        assert relay.requests[1]["messages"][2] == {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "call_1", "content": failed, "is_error": True},
                {"type": "tool_result", "tool_use_id": "call_2", "content": "2"},
            ],
        }

    async def test_system_messages_of_the_input_join_the_system_prompt(
        self, aimock: Aimock, record: Record, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await aimock.answer(says("ok", to="hi"))
        messages = [{"role": "system", "content": "In rhyme"}, {"role": "user", "content": "hi"}]
        async with relayed(aimock.url) as relay:
            monkeypatch.setenv("ANTHROPIC_BASE_URL", relay.url)
            await anthropic_agent(a_run(record, {"messages": messages}, system="Be brief", thinking="adaptive"))

        [request] = relay.requests
        assert request["system"] == "Be brief\n\nIn rhyme"
        assert [message["role"] for message in request["messages"]] == ["user"]
        assert request["thinking"] == {"type": "adaptive", "display": "summarized"}


class TestOpenAI:
    @pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
    async def test_reasoning_goes_back_under_the_name_it_came_with(
        self, aimock: Aimock, record: Record, monkeypatch: pytest.MonkeyPatch, field: str
    ) -> None:
        await aimock.answer(*rounds("hi", {**CALCULATING, "reasoning": "Six times seven"}, {"content": "42"}))

        async def rename(frame: bytes) -> bytes:
            return frame.replace(b'"reasoning_content"', b'"%s"' % field.encode())

        async with relayed(aimock.url, rename) as relay:
            monkeypatch.setenv("OPENAI_BASE_URL", f"{relay.url}/v1")
            await openai_agent(a_run(record, tools=["calculator"]))

        assert record.joined("reasoning.delta") == "Six times seven"
        assert relay.requests[1]["messages"][1][field] == "Six times seven"

    async def test_a_refusal_is_what_the_model_says(
        self, aimock: Aimock, record: Record, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await aimock.answer(says("I must not", to="hi"))

        async def refuse(frame: bytes) -> bytes:
            return frame.replace(b'"content":"I', b'"refusal":"I')

        async with relayed(aimock.url, refuse) as relay:
            monkeypatch.setenv("OPENAI_BASE_URL", f"{relay.url}/v1")
            assert (await openai_agent(a_run(record)))["text"] == "I must not"

    async def test_a_server_that_counts_no_tokens_and_omits_what_openai_sends_is_understood(
        self, aimock: Aimock, record: Record, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await aimock.answer(says("Hello", to="hi", chunkSize=2))

        async def strip(frame: bytes) -> bytes:
            if b'"usage"' in frame:
                return b""
            return re.sub(rb'"(id|object|created|model|logprobs)":("[^"]*"|\d+|null),', b"", frame)

        async with relayed(aimock.url, strip) as relay:
            monkeypatch.setenv("OPENAI_BASE_URL", f"{relay.url}/v1")
            assert (await openai_agent(a_run(record)))["text"] == "Hello"

        assert not record.of("usage")

    @pytest.mark.parametrize(
        ("host", "limit"),
        [
            ("api.openai.com", "max_completion_tokens"),
            ("my.openai.azure.com", "max_completion_tokens"),
            ("localhost", "max_tokens"),
        ],
    )
    async def test_the_limit_has_the_name_that_the_server_knows(
        self, monkeypatch: pytest.MonkeyPatch, host: str, limit: str
    ) -> None:
        monkeypatch.setenv("OPENAI_BASE_URL", f"https://{host}/v1")
        options = OpenAIOptions(max_tokens=5)
        async with new_client(MODELS["openai"], "not-a-key", options) as client:
            assert request_options(client, MODELS["openai"], options, {})[limit] == 5


FIRST_JOB = """
import asyncio, sys
from tests.support.record import Record, a_run
from holdfast.worker.agents.chat import chat_agents
from holdfast.worker.agents.models import known_models
agents = list(chat_agents(known_models()))
before = set(sys.modules)
for agent in agents:
    asyncio.run(agent.function(a_run(Record(), tools=["clock"])))
late = sorted(set(sys.modules) - before)
print([name for name in late if name.partition(".")[0] in ("openai", "anthropic", "httpx2")])
"""


async def test_the_sdks_are_imported_before_the_first_job(aimock: Aimock, processes: Processes) -> None:
    """An import blocks the loop, and so the tokens of every other job."""
    await aimock.answer(says("ok", to="hi"))
    keys = {"OPENAI_API_KEY": "not-a-key", "ANTHROPIC_API_KEY": "not-a-key"}
    urls = {"OPENAI_BASE_URL": f"{aimock.url}/v1", "ANTHROPIC_BASE_URL": aimock.url}

    first_job = processes.start([sys.executable, "-c", FIRST_JOB], **keys, **urls)

    assert await first_job.wait() == 0, first_job.describe()
    assert first_job.output() == "[]\n"
