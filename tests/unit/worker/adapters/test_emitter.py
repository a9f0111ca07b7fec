"""The emitter of adapters: content that arrives in pieces and as a whole is emitted once, from every framework."""

from __future__ import annotations

from typing import Any

import pytest
from holdfast.worker.adapters.adapter import current_run, outcome
from holdfast.worker.adapters.emitter import MAX_DATA_BYTES, FrameworkEmitter, begin, plain
from holdfast.worker.agents.emitter import MAX_PIECE_CHARS

from tests.support.record import Record, a_run


@pytest.fixture
def record() -> Record:
    return Record()


@pytest.fixture
def emitter(record: Record) -> FrameworkEmitter:
    return FrameworkEmitter(a_run(record))


class TestText:
    async def test_each_block_has_a_part_of_its_own_however_they_interleave(
        self, emitter: FrameworkEmitter, record: Record
    ) -> None:
        await emitter.text("a", "one ")
        await emitter.text("b", "two ")
        await emitter.agent("helper").text("c", "three ")
        await emitter.text("a", "and a half")

        assert [(event["part"], event["text"]) for event in record.events] == [
            (0, "one "),
            (1, "two "),
            (2, "three "),
            (0, "and a half"),
        ]
        assert [event.get("agent") for event in record.events] == [None, None, "helper", None]

    async def test_reasoning_counts_its_own_parts(self, emitter: FrameworkEmitter, record: Record) -> None:
        await emitter.reasoning("a", "hm")
        await emitter.text("a", "so")

        assert [(event["type"], event["part"]) for event in record.events] == [
            ("reasoning.delta", 0),
            ("text.delta", 0),
        ]

    async def test_a_whole_is_said_only_if_nothing_of_it_has_streamed(
        self, emitter: FrameworkEmitter, record: Record
    ) -> None:
        await emitter.text("a", "Hel", index=1)
        await emitter.whole_text("a", "Hello")
        await emitter.whole_text("b", "World")
        await emitter.whole_text("b", "World")
        await emitter.whole_reasoning("c", "Hm")
        await emitter.whole_reasoning("c", "Hm")

        assert record.joined("text.delta") == "HelWorld"
        assert record.joined("reasoning.delta") == "Hm"

    async def test_a_long_whole_goes_into_several_events(self, emitter: FrameworkEmitter, record: Record) -> None:
        text = "x" * (2 * MAX_PIECE_CHARS + 1)
        await emitter.whole_text("a", text)

        assert len(record.events) == 3
        assert record.joined("text.delta") == text

    async def test_a_character_that_is_cut_in_two_arrives_whole(
        self, emitter: FrameworkEmitter, record: Record
    ) -> None:
        await emitter.text("a", "\ud83d")
        await emitter.text("b", "between")
        await emitter.text("a", "\ude80")

        assert [event["text"] for event in record.events] == ["between", "🚀"]


class TestCalls:
    async def test_arguments_wait_for_the_id_and_the_name(self, emitter: FrameworkEmitter, record: Record) -> None:
        await emitter.call("m", 0, '{"a', call_id="c1")
        assert record.events == []
        await emitter.call("m", 0, '": 1', name="add")
        await emitter.call("m", 0, "}")
        await emitter.ended("m")

        assert record.kinds() == ["tool.started", "tool.arguments.delta", "tool.called"]
        assert record.joined("tool.arguments.delta", "delta") == '{"a": 1}'
        assert record.of("tool.called")[0]["arguments"] == {"a": 1}

    async def test_a_call_and_its_result_are_said_once(self, emitter: FrameworkEmitter, record: Record) -> None:
        await emitter.call("m", 0, "{}", call_id="c1", name="look")
        for _ in range(2):
            await emitter.called("c1", "look", {})
            await emitter.ended("m")
            await emitter.result("c1", "blue")
            await emitter.failed("c1", "too late")

        assert record.kinds() == ["tool.started", "tool.arguments.delta", "tool.called", "tool.result"]

    async def test_a_result_brings_the_call_that_was_not_said_to_be_complete(
        self, emitter: FrameworkEmitter, record: Record
    ) -> None:
        await emitter.call("m", 0, '{"a": 1}', call_id="c1", name="add")
        await emitter.result("c1", 2)
        await emitter.result("c2", 3, "unannounced")

        assert [(event["name"], event["arguments"]) for event in record.of("tool.called")] == [
            ("add", {"a": 1}),
            ("unannounced", {}),
        ]
        assert [event["result"] for event in record.of("tool.result")] == [2, 3]

    async def test_the_result_is_the_agent_s_who_called(self, emitter: FrameworkEmitter, record: Record) -> None:
        await emitter.agent("helper").called("c1", "look", {})
        await emitter.result("c1", "blue")

        assert {event["agent"] for event in record.events} == {"helper"}

    async def test_an_id_that_comes_again_after_its_answer_is_another_call(
        self, emitter: FrameworkEmitter, record: Record
    ) -> None:
        for message in ("first", "second"):
            await emitter.call(message, 0, "{}", call_id="call_0", name="look")
            await emitter.ended(message)
            await emitter.result("call_0", message)

        assert [event["result"] for event in record.of("tool.result")] == ["first", "second"]

    async def test_arguments_that_are_no_object_are_none(self, emitter: FrameworkEmitter, record: Record) -> None:
        await emitter.called("c1", "look", '{"cut of')

        assert record.of("tool.called")[0]["arguments"] == {}

    async def test_a_failure_says_no_key(self, emitter: FrameworkEmitter, record: Record) -> None:
        await emitter.called("c1", "look", {})
        await emitter.failed("c1", ValueError("sk-abcdefghijklmnop was refused"))

        [failed] = record.of("tool.failed")
        assert "sk-abc" not in failed["error"]
        assert "was refused" in failed["error"]


class TestValues:
    @pytest.mark.parametrize(
        ("value", "shown"),
        [
            ({"a": (1, 2)}, {"a": [1, 2]}),
            (b"\xff", "_w=="),
            (2**70, str(2**70)),
            ("\ud83d", "�"),
            ({"t": "\ud83d"}, r"{'t': '\ud83d'}"),
        ],
        ids=["tuple", "bytes", "huge number", "half a character", "half a character within"],
    )
    def test_whatever_a_framework_gives_becomes_json(self, value: Any, shown: Any) -> None:
        assert plain(value) == shown

    def test_an_object_becomes_its_text(self) -> None:
        class Thing:
            def __str__(self) -> str:
                return "a thing"

        assert plain({"it": Thing()}) == {"it": "a thing"}

    async def test_data_that_is_too_large_is_cut(self, emitter: FrameworkEmitter, record: Record) -> None:
        await emitter.data("outline", ["x" * MAX_DATA_BYTES])

        [event] = record.events
        assert event["truncated"] is True
        assert len(event["value"]) == MAX_DATA_BYTES

    async def test_usage_that_nobody_counted_is_not_said(self, emitter: FrameworkEmitter, record: Record) -> None:
        await emitter.usage(0, None, "m")
        await emitter.usage(3, None, None)

        assert [(event["input_tokens"], event["output_tokens"], event["model"]) for event in record.events] == [
            (3, 0, "")
        ]

    def test_a_result_is_a_text_or_an_output_and_never_too_long(self) -> None:
        assert outcome("hello") == {"text": "hello"}
        assert outcome({"n": 1}) == {"output": {"n": 1}}
        assert outcome(None) == {"output": None}
        long = outcome("x" * 100_000)
        assert (long["truncated"], len(long["text"])) == (True, 32_000)
        assert outcome(["x" * 100_000])["truncated"] is True


async def test_a_tool_finds_the_run_of_its_job(record: Record) -> None:
    run = a_run(record)
    begin(run)

    assert current_run() is run
