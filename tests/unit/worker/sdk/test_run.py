"""An agent's side of a run: what it emits is checked and dated, and nothing gets out after its end."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from holdfast.shared.errors import EventInvalid
from holdfast.worker.attempt.journal import Step
from holdfast.worker.attempt.thread_run import ThreadRun
from holdfast.worker.sdk.run import MAX_TOOL_RESULT_BYTES, Run, RunEnded


class Record:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    async def put(self, kind: str, body: bytes, step: Step | None = None) -> None:
        self.events.append(orjson.loads(body))
        assert self.events[-1]["type"] == kind

    async def flush(self) -> None:
        return


@pytest.fixture
def record() -> Record:
    return Record()


@pytest.fixture
def run(record: Record) -> Run:
    return Run(record, session_id="s", job_id="j", attempt=1, input="hi", options={}, metadata={}, history=[])


async def test_every_method_emits_the_event_of_its_name(run: Run, record: Record) -> None:
    await run.text("a")
    await run.reasoning("b", part=2)
    await run.status("Searching…")
    await run.data("outline", [1])
    await run.section_started("One", 0)
    await run.section_ended("One", 0)
    await run.tool_started("c", "clock")
    await run.tool_arguments("c", "{")
    await run.tool_called("c", "clock", {})
    await run.tool_result("c", "noon")
    await run.tool_failed("c", "no")
    await run.usage(3, 4, "m")
    at = [event.pop("at", None) for event in record.events]
    assert record.events == [
        {"type": "text.delta", "job_id": "j", "text": "a", "part": 0},
        {"type": "reasoning.delta", "job_id": "j", "text": "b", "part": 2},
        {"type": "status", "job_id": "j", "message": "Searching…"},
        {"type": "data", "job_id": "j", "name": "outline", "value": [1]},
        {"type": "section.started", "job_id": "j", "title": "One", "index": 0},
        {"type": "section.ended", "job_id": "j", "title": "One", "index": 0},
        {"type": "tool.started", "job_id": "j", "call_id": "c", "name": "clock"},
        {"type": "tool.arguments.delta", "job_id": "j", "call_id": "c", "delta": "{"},
        {"type": "tool.called", "job_id": "j", "call_id": "c", "name": "clock", "arguments": {}},
        {"type": "tool.result", "job_id": "j", "call_id": "c", "result": "noon"},
        {"type": "tool.failed", "job_id": "j", "call_id": "c", "error": "no"},
        {"type": "usage", "job_id": "j", "input_tokens": 3, "output_tokens": 4, "model": "m"},
    ]
    dated = {event["type"] for event, when in zip(record.events, at, strict=True) if when is not None}
    assert dated == {"status", "tool.started", "tool.called", "tool.result", "tool.failed"}


async def test_an_unknown_type_passes_with_its_fields(run: Run, record: Record) -> None:
    await run.emit({"type": "my.own_kind", "anything": {"goes": True}})
    assert record.events == [{"type": "my.own_kind", "job_id": "j", "anything": {"goes": True}}]


async def test_an_agent_cannot_speak_for_another_job(run: Run, record: Record) -> None:
    await run.emit({"type": "note", "job_id": "somebody else's"})
    assert record.events[0]["job_id"] == "j"


async def test_empty_pieces_are_not_emitted(run: Run, record: Record) -> None:
    await run.text("")
    await run.reasoning("")
    await run.tool_arguments("c", "")
    assert record.events == []


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"type": None},
        {"type": ["text.delta"]},
        {"type": "Upper"},
        {"type": "has space"},
        {"type": "line\nbreak"},
        {"type": "x" * 65},
        {"type": "job.completed", "result": None},
        {"type": "job.anything"},
        {"type": "session.deleted"},
        {"type": "gap", "reason": "lost"},
        {"type": "text.delta", "text": "a"},
        {"type": "text.delta", "text": 5, "part": 0},
        {"type": "text.delta", "text": "a", "part": True},
        {"type": "text.delta", "text": "\ud800", "part": 0},
        {"type": "tool.called", "call_id": "c", "name": "n"},
        {"type": "data", "value": 1},
        {"type": "note", "id": "5-1"},
        {"type": "note", "prev": "5-1"},
        {"type": "note", "from": "5-1"},
        {"type": "text.delta", "text": "a", "part": 0, "agent": ["a"]},
        {"type": "note", "agent": 5},
        {"type": "note", "value": object()},
        {"type": "note", "value": 2**70},
        {"type": "note", "text": "x" * 300_000},
    ],
    ids=lambda event: ",".join(event) or "nothing",
)
async def test_a_malformed_event_is_an_error_in_the_agent(run: Run, record: Record, event: dict[str, Any]) -> None:
    with pytest.raises(EventInvalid):
        await run.emit(event)
    assert record.events == []


async def test_nothing_is_emitted_after_the_end(run: Run, record: Record) -> None:
    run.end()
    with pytest.raises(RunEnded):
        await run.text("late")
    with pytest.raises(RunEnded):
        await run.flush()
    assert record.events == []


@pytest.mark.parametrize("result", ["é" * MAX_TOOL_RESULT_BYTES, {"rows": list(range(50_000))}])
async def test_of_a_large_tool_result_the_log_has_the_beginning(run: Run, record: Record, result: Any) -> None:
    await run.tool_result("c", result)
    [event] = record.events
    whole = result if isinstance(result, str) else orjson.dumps(result).decode()
    assert event["truncated"] is True
    assert whole.startswith(event["result"])
    assert MAX_TOOL_RESULT_BYTES - 4 < len(event["result"].encode()) <= MAX_TOOL_RESULT_BYTES


async def test_a_tool_result_that_fits_is_whole(run: Run, record: Record) -> None:
    await run.tool_result("c", "x" * MAX_TOOL_RESULT_BYTES)
    assert "truncated" not in record.events[0]


async def test_a_thread_speaks_through_the_same_methods(run: Run, record: Record) -> None:
    threaded = ThreadRun(run, asyncio.get_running_loop())

    def work() -> str:
        threaded.text("from a thread")
        return str(threaded.input)

    assert await asyncio.to_thread(work) == "hi"
    assert record.events[0]["text"] == "from a thread"
