from __future__ import annotations

import asyncio
from typing import Any

import pytest
from holdfast.worker.agents.emitter import AnswerEmitter
from holdfast.worker.agents.tool_calls import ToolCall, ToolCalls, run_side_by_side
from holdfast.worker.sdk.tools import Tool

from tests.support.record import Record, a_run

Piece = tuple[int, str, str, str]


@pytest.fixture
def record() -> Record:
    return Record()


async def put_together(record: Record, *pieces: Piece) -> list[ToolCall]:
    calls = ToolCalls(AnswerEmitter(a_run(record)))
    for piece in pieces:
        await calls.add(*piece)
    return calls.calls


async def test_the_pieces_of_interleaved_calls_are_put_together_by_index(record: Record) -> None:
    first, second = await put_together(
        record,
        (0, "a", "look", ""),
        (1, "b", "hear", '{"x"'),
        (0, "", "", '{"y":'),
        (1, "", "", ":1}"),
        (0, "", "", "2}"),
    )

    assert (first.name, first.arguments) == ("look", {"y": 2})
    assert (second.name, second.arguments) == ("hear", {"x": 1})
    deltas = [(event["call_id"], event["delta"]) for event in record.of("tool.arguments.delta")]
    assert deltas == [("b", '{"x"'), ("a", '{"y":'), ("b", ":1}"), ("a", "2}")]


async def test_arguments_that_come_before_the_name_wait_for_it(record: Record) -> None:
    [call] = await put_together(record, (0, "a", "", '{"y":'), (0, "", "look", "2"), (0, "", "", "}"))

    assert call.arguments == {"y": 2}
    assert record.kinds() == ["tool.started", "tool.arguments.delta"]
    assert record.joined("tool.arguments.delta", "delta") == '{"y":2}'


async def test_another_id_at_the_same_index_is_another_call(record: Record) -> None:
    calls = await put_together(record, (0, "a", "look", "{}"), (0, "b", "hear", "{}"), (0, "b", "hear", ""))

    assert [(call.call_id, call.name, call.text) for call in calls] == [("a", "look", "{}"), ("b", "hear", "{}")]


async def test_a_call_without_an_id_gets_one(record: Record) -> None:
    calls = await put_together(record, (0, "", "look", "{}"), (1, "", "look", "{}"))

    assert len({call.call_id for call in calls} - {""}) == 2


async def test_a_call_that_never_gets_a_name_is_none(record: Record) -> None:
    assert await put_together(record, (0, "a", "", "{}")) == []
    assert record.events == []


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("", {}),
        ("{}", {}),
        ('{"a": "\\ud83d\\ude80"}', {"a": "🚀"}),
        ("[]", None),
        ("1", None),
        ("{", None),
        ("NaN", None),
    ],
)
def test_arguments_are_a_json_object_or_none_at_all(text: str, arguments: dict[str, Any] | None) -> None:
    assert ToolCall("a", "look", text).arguments == arguments


async def test_a_result_that_is_no_json_fails_the_call(record: Record) -> None:
    async def huge() -> int:
        return 10**30

    async def half() -> str:
        return "\ud83d"

    tools = {name: Tool(name, "", {}, function) for name, function in {"huge": huge, "half": half}.items()}
    calls = [ToolCall("a", "huge"), ToolCall("b", "half")]

    answers = await run_side_by_side(a_run(record), calls, tools)

    assert [answer.failed for answer in answers] == [True, True]
    assert len(record.of("tool.failed")) == 2


async def test_the_model_hears_a_result_whole_that_the_log_holds_the_beginning_of(record: Record) -> None:
    async def long() -> str:
        return "x" * 100_000

    [answer] = await run_side_by_side(a_run(record), [ToolCall("a", "long")], {"long": Tool("long", "", {}, long)})

    assert len(answer.content) == 100_000
    assert record.of("tool.result")[0]["truncated"] is True


async def test_an_error_of_a_tool_is_told_without_keys(record: Record) -> None:
    async def leak() -> None:
        raise RuntimeError("refused sk-abcdef1234 \ud83d")

    [answer] = await run_side_by_side(a_run(record), [ToolCall("a", "leak")], {"leak": Tool("leak", "", {}, leak)})

    assert answer.content == "error: RuntimeError: refused [removed] �"


async def test_when_the_run_ends_the_other_tools_are_stopped(record: Record) -> None:
    stopped = asyncio.Event()

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    run = a_run(record)

    async def end() -> None:
        run.end()

    tools = {"wait": Tool("wait", "", {}, wait), "end": Tool("end", "", {}, end)}
    with pytest.raises(Exception, match="ended"):
        await run_side_by_side(run, [ToolCall("a", "wait"), ToolCall("b", "end")], tools)
    await asyncio.wait_for(stopped.wait(), 30)
