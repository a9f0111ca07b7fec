"""What holds for every log, whatever its events: pages, cursors, and that the final output is what counts."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from holdfast.gateway.dialects.dialect import CUT, END
from holdfast.gateway.dialects.openai.completions import CompletionHead, CompletionTranslation
from holdfast.gateway.dialects.openai.response_object import ResponseHead
from holdfast.gateway.dialects.openai.responses import (
    DONE,
    MAX_OPEN_ITEMS,
    MAX_OUTPUT_BYTES,
    ResponseTranslation,
    question_of,
)
from holdfast.gateway.dialects.translation import Numbered
from holdfast.shared.ids import EventId, parse_id
from holdfast.shared.log.entries import Entry
from holdfast.shared.log.event_log import Gap

from tests.unit.gateway.dialects.openai.test_golden import FEATURES, TRANSLATIONS, log_of, wire_of

RESPONSES = TRANSLATIONS["responses"]
BEGUN = 1763683200000


def events_of(wire: bytes) -> list[dict[str, object]]:
    """The events of a wire, without the end marker."""
    lines = [line.removeprefix(b"data: ") for line in wire.splitlines() if line.startswith(b"data: ")]
    return [orjson.loads(line) for line in lines if line != b"[DONE]"]


def text_that_counts(log: list[Entry]) -> str:
    kept: list[tuple[EventId, str | None, str]] = []
    for entry in log:
        event = orjson.loads(entry.body)
        if "discard_from" in event:
            kept = [one for one in kept if one[0] < parse_id(event["discard_from"])]
        if entry.kind == "text.delta":
            kept.append((entry.id, event.get("agent"), event["text"]))
    return "".join(text for _, _, text in kept)


@pytest.mark.parametrize("protocol", TRANSLATIONS)
@pytest.mark.parametrize("feature", FEATURES)
def test_the_bytes_do_not_depend_on_the_pages(feature: str, protocol: str) -> None:
    dialect, log = Numbered(TRANSLATIONS[protocol]), log_of(feature)
    wire, state = dialect.opening, dialect.initial_state
    for entry in log:
        data, state = dialect.frames(state, [entry])
        wire += data
    assert wire == wire_of(TRANSLATIONS[protocol], log)


@pytest.mark.parametrize("feature", FEATURES)
def test_a_client_that_was_cut_after_any_event_receives_the_others(feature: str) -> None:
    log = log_of(feature)
    whole = events_of(wire_of(RESPONSES, log))
    assert [event["sequence_number"] for event in whole] == list(range(len(whole)))
    for received in range(len(whole)):
        dialect = Numbered(RESPONSES, received)
        wire = dialect.opening + dialect.frames(dialect.initial_state, log)[0]
        assert events_of(wire) == (whole[received + 1 :] or whole[-1:])


@pytest.mark.parametrize("received", [8, 10**9])
def test_a_cursor_past_the_end_gets_the_last_event(received: int) -> None:
    """A clean end without it would look like a response that never finishes."""
    dialect, log = Numbered(RESPONSES, received), log_of("data")
    wire = dialect.opening + dialect.frames(dialect.initial_state, log)[0]
    assert [event["type"] for event in events_of(wire)] == ["response.completed"]
    assert wire.endswith(DONE)


@pytest.mark.parametrize("feature", [name for name in FEATURES if name != "several-agents"])
def test_the_final_output_has_the_text_that_counts(feature: str) -> None:
    log = log_of(feature)
    final = events_of(wire_of(RESPONSES, log))[-1]["response"]
    assert isinstance(final, dict)
    messages = [item for item in final["output"] if item["type"] == "message"]
    assert "".join(message["content"][0]["text"] for message in messages) == text_that_counts(log)


@pytest.mark.parametrize("feature", FEATURES)
def test_every_item_is_announced_once_and_finished(feature: str) -> None:
    events = events_of(wire_of(RESPONSES, log_of(feature)))
    added = [event["output_index"] for event in events if event["type"] == "response.output_item.added"]
    done = [event["output_index"] for event in events if event["type"] == "response.output_item.done"]
    assert added == list(range(len(added)))
    assert sorted(done) == added  # type: ignore[type-var]


@pytest.mark.parametrize("protocol", TRANSLATIONS)
def test_an_event_that_no_worker_wrote_changes_nothing(protocol: str) -> None:
    log = log_of("text")
    broken = [
        Entry(EventId(1763683200124, 1), kind, "j1", body, None)
        for kind in ("text.delta", "tool.called", "question.asked", "usage", "tool.result")
        for body in (b"{}", b"[]", b'{"text":7,"part":0,"call_id":7,"question_id":7,"agent":7}')
    ]
    assert wire_of(TRANSLATIONS[protocol], [*log[:3], *broken, *log[3:]]) == wire_of(TRANSLATIONS[protocol], log)


@pytest.mark.parametrize("protocol", TRANSLATIONS)
def test_a_long_output_costs_no_more_per_event_than_a_short_one(protocol: str) -> None:
    """Forty thousand deltas take a second; copying the text for each would take minutes and gigabytes."""
    log = [log_of("text")[0]]
    log += [word(seq, "word ") for seq in range(2, 40_002)]
    assert wire_of(TRANSLATIONS[protocol], log).count(b'"delta"') == 40_000 + (protocol == "completions")


def word(seq: int, text: str, epoch: int = 1763683200123) -> Entry:
    body = orjson.dumps({"type": "text.delta", "text": text, "part": 0})
    return Entry(EventId(epoch, seq), "text.delta", "j1", body, None)


def test_an_output_that_would_not_fit_in_memory_ends_as_incomplete() -> None:
    log = [log_of("text")[0], *(word(seq, "x" * 200_000) for seq in range(2, 60)), log_of("text")[-1]]
    wire = wire_of(RESPONSES, log)
    events = events_of(wire)
    final = events[-1]["response"]
    assert isinstance(final, dict)
    assert (events[-1]["type"], final["incomplete_details"]) == (
        "response.incomplete",
        {"reason": "max_output_tokens"},
    )
    sent = "".join(str(event["delta"]) for event in events if event["type"] == "response.output_text.delta")
    assert final["output"][0]["content"][0]["text"] == sent
    assert 800_000 < len(sent) <= MAX_OUTPUT_BYTES
    last_frames = wire[wire.index(b"event: response.output_text.done") :]
    assert len(last_frames) < 4 * MAX_OUTPUT_BYTES + 8192


def test_empty_deltas_are_limited_too() -> None:
    log = [log_of("text")[0], *(word(seq, "") for seq in range(2, 100_002))]
    assert events_of(wire_of(RESPONSES, log))[-1]["type"] == "response.incomplete"


def test_a_response_that_is_cut_short_ends_its_stream_before_the_job() -> None:
    dialect = Numbered(RESPONSES)
    log = [log_of("text")[0], *(word(seq, "x" * 200_000) for seq in range(2, 60))]
    assert dialect.frames(dialect.initial_state, log)[1] is END


def test_a_retracted_text_does_not_count_towards_the_limit() -> None:
    log = [log_of("text")[0], *(word(seq, "x" * 200_000) for seq in range(2, 6))]
    taken_over = orjson.dumps({"type": "job.started", "discard_from": str(log[1].id)})
    log += [Entry(EventId(1763683200124, 1), "job.started", "j1", taken_over, None)]
    log += [word(seq, "x" * 200_000, 1763683200124) for seq in range(2, 6)]
    log += [Entry(EventId(1763683200124, 7), "job.completed", "j1", b'{"type":"job.completed"}', None)]
    assert events_of(wire_of(RESPONSES, log))[-1]["type"] == "response.completed"


def test_a_response_with_too_many_open_calls_ends_as_incomplete() -> None:
    """Each event copies the open items: ten thousand of them would take minutes."""
    log = [log_of("text")[0]]
    for seq in range(2, 10_002):
        event = {"type": "tool.started", "call_id": str(seq), "name": "look"}
        log.append(Entry(EventId(1763683200123, seq), "tool.started", "j1", orjson.dumps(event), None))
    events = events_of(wire_of(RESPONSES, log))
    assert events[-1]["type"] == "response.incomplete"
    assert [event["type"] for event in events].count("response.output_item.done") == MAX_OPEN_ITEMS


def test_missing_events_end_a_response_as_failed() -> None:
    dialect = Numbered(RESPONSES)
    state = dialect.frames(dialect.initial_state, log_of("text")[:2])[1]
    wire, after = dialect.gap(state, Gap("lost", EventId(1763683200123, 9)))
    assert [event["type"] for event in events_of(wire)] == ["response.failed"]
    assert after is END


def test_a_question_that_is_asked_again_is_another_call() -> None:
    """OpenAI's Python client refuses a second call with the same id."""
    events = events_of(wire_of(RESPONSES, log_of("question-asked-again")))
    items = [event["item"] for event in events if event["type"] == "response.output_item.added"]
    calls = [item["call_id"] for item in items if isinstance(item, dict) and item["type"] == "function_call"]
    assert len(set(calls)) == 2
    assert [question_of(call) for call in calls] == ["q1", "q1"]


def test_a_completion_that_begins_with_an_answer_waits_for_the_answer_of_a_takeover() -> None:
    first = [*_talk(1, 1), _event(1, 10, "question.answered", question_id="q2", value=2)]
    taken_over = _event(2, 1, "job.started", prev=f"{BEGUN + 1}-10", discard_from=f"{BEGUN + 1}-1")
    second = [*_talk(2, 2), _event(2, 10, "question.answered", question_id="q2", value=2)]
    end = [_event(2, 11, "text.delta", text="C", part=0), _event(2, 12, "job.completed", result=None)]
    translation = CompletionTranslation(CompletionHead("chatcmpl-s1", "writer", 1), answered="q2")
    chunks = events_of(wire_of(translation, [*first, taken_over, *second, *end]))
    choices = [chunk["choices"][0] for chunk in chunks]  # type: ignore[index]
    assert ["".join(choice["delta"].get("content", "") for choice in choices), choices[-1]["finish_reason"]] == [
        "C",
        "stop",
    ]


def _talk(epoch: int, seq: int) -> list[Entry]:
    """An attempt that asks two questions, of which the first is answered."""
    events: list[tuple[str, dict[str, object]]] = [
        ("text.delta", {"text": "A", "part": 0}),
        ("question.asked", {"question_id": "q1"}),
        ("question.answered", {"question_id": "q1", "value": 1}),
        ("text.delta", {"text": "B", "part": 0}),
        ("question.asked", {"question_id": "q2"}),
    ]
    return [_event(epoch, seq + number, kind, **fields) for number, (kind, fields) in enumerate(events)]


def _event(epoch: int, seq: int, kind: str, **fields: object) -> Entry:
    return Entry(EventId(BEGUN + epoch, seq), kind, "j1", orjson.dumps({"type": kind, "job_id": "j1", **fields}), None)


@pytest.mark.parametrize("feature", ["two-tool-calls", "takeover-of-a-tool-call"])
def test_a_tool_call_has_the_call_id_of_its_events(feature: str) -> None:
    log = log_of(feature)
    response: Any = events_of(wire_of(RESPONSES, log))[-1]["response"]
    called = {event["call_id"] for event in map(orjson.loads, (entry.body for entry in log)) if "call_id" in event}
    assert {item["call_id"] for item in response["output"] if item["type"] == "mcp_call"} == called


def test_states_are_shared_whoever_made_them() -> None:
    one, other = (Numbered(ResponseTranslation(ResponseHead("resp_s1", "writer", 0, b"{}"))) for _ in range(2))
    log = log_of("text")
    assert one == other
    assert one.frames(one.initial_state, log[:3])[1] == other.frames(other.initial_state, log[:3])[1]
    assert one.frames(one.initial_state, log[:3])[1] != other.frames(other.initial_state, log[:2])[1]


def test_an_error_of_the_translation_cuts_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """It must neither end as if it were complete, nor stop the delivery to other viewers."""
    monkeypatch.setattr(ResponseTranslation, "advance", lambda *_: 1 / 0)
    dialect = Numbered(RESPONSES)
    assert dialect.frames(dialect.initial_state, log_of("text")) == (b"", CUT)
