"""The events that a job becomes. `python -m tests.support.ag_ui_golden` writes the golden files in tests/data/ag_ui."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from holdfast.gateway.dialects.ag_ui.history import MAX_HISTORY_BYTES, History
from holdfast.gateway.dialects.ag_ui.ids import Cursor
from holdfast.gateway.dialects.ag_ui.run import MAX_OPEN
from holdfast.gateway.dialects.dialect import CUT, END
from holdfast.gateway.dialects.translation import Numbered
from holdfast.shared.ids import EventId
from holdfast.shared.log.entries import Entry
from holdfast.shared.log.event_log import Gap

from tests.support.ag_ui_golden import (
    DATA,
    EPOCH,
    HISTORY,
    LOGS,
    cursor_of,
    entry,
    events,
    frames,
    golden,
    joined,
    log,
    progress,
    stream,
    types,
    wire,
)


def resumed(name: str, cursor: Cursor) -> bytes:
    entries = log(name)
    return wire(Numbered(joined(cursor=cursor), cursor), entries)


@pytest.mark.parametrize("name", LOGS)
def test_a_log_becomes_its_golden_files(name: str) -> None:
    for file, data in golden(name).items():
        assert (DATA / "ag_ui" / file).read_bytes() == data, file


def test_every_golden_file_has_a_log() -> None:
    assert {path.name for path in (DATA / "ag_ui").glob("*")} == {file for name in LOGS for file in golden(name)}


@pytest.mark.parametrize("name", LOGS)
def test_the_events_do_not_depend_on_the_pages(name: str) -> None:
    entries = log(name)
    dialect = Numbered(joined())
    data, state = dialect.opening, dialect.initial_state
    for one in entries:
        framed, state = dialect.frames(state, [one])
        data += framed
    assert data == wire(dialect, entries)


@pytest.mark.parametrize("name", LOGS)
def test_each_event_has_an_id_of_its_own(name: str) -> None:
    found = [cursor_of(frame) for frame in frames(wire(Numbered(joined()), log(name)))]
    assert found == sorted(set(found))


@pytest.mark.parametrize("name", LOGS)
def test_a_client_that_reconnects_after_any_event_has_each_event_once(name: str) -> None:
    everything = frames(wire(Numbered(joined()), log(name)))
    for received, frame in enumerate(everything[:-1], 1):
        assert frames(resumed(name, cursor_of(frame))) == everything[received:]


def test_a_client_that_has_received_the_end_receives_it_again_under_another_id() -> None:
    last = frames(wire(Numbered(joined()), log("text")))[-1]
    [again] = frames(resumed("text", cursor_of(last)))
    assert events(again) == events(last)
    [once_more] = frames(resumed("text", cursor_of(again)))
    assert len({cursor_of(frame) for frame in (last, again, once_more)}) == 3


def test_an_open_question_ends_the_run_and_the_stream() -> None:
    entries = log("question")[:3]
    for dialect in (Numbered(stream()), Numbered(joined(answered=()))):
        data, state = dialect.frames(dialect.initial_state, entries)
        assert state is END
        assert events(data)[-1]["outcome"]["interrupts"][0]["id"] == "j1~q1"


def test_a_question_that_is_asked_again_after_its_answer_ends_nothing() -> None:
    entries = log("question")[:5]
    again = [
        entry(1, "job.started", EPOCH + 1, discard_from=f"{EPOCH}-2"),
        entry(2, "question.asked", EPOCH + 1, question_id="q1", prompt="Which city?", schema={}),
        entry(3, "question.answered", EPOCH + 1, question_id="q1", value="Rome"),
        entry(4, "job.completed", EPOCH + 1),
    ]
    dialect = Numbered(joined(answered=("q1",)))
    data, state = dialect.frames(dialect.initial_state, [*entries, *again])
    assert state is not END
    assert types(data)[-1] == "RUN_FINISHED"
    assert "outcome" not in events(data)[-1]


def test_an_answered_question_is_not_open_before_the_log_has_the_answer() -> None:
    """After a takeover the agent asks once more, and only then the answer is appended."""
    entries = [
        *log("question")[:3],
        entry(1, "job.started", EPOCH + 1, discard_from=f"{EPOCH}-2"),
        entry(2, "question.asked", EPOCH + 1, question_id="q1", prompt="Which city?", schema={}),
    ]
    dialect = Numbered(joined(answered=("q1",)))
    data, state = dialect.frames(dialect.initial_state, entries)
    assert state is not END
    assert "RUN_FINISHED" not in types(data)


def test_viewers_for_whom_other_questions_are_open_do_not_share_their_frames() -> None:
    assert Numbered(joined(answered=("q1",))) != Numbered(joined(answered=()))


@pytest.mark.parametrize(
    ("end", "events_sent"),
    [
        (entry(3, "job.cancelled", by="user"), ["RUN_STARTED", "RUN_ERROR"]),
        (entry(3, "session.deleted"), ["RUN_STARTED", "RUN_ERROR"]),
        (entry(3, "question.asked", question_id="q2", prompt="?", schema={}), ["RUN_STARTED", "RUN_FINISHED"]),
    ],
    ids=["cancelled", "deleted", "asked"],
)
def test_a_run_that_ends_before_its_question_sends_the_end_alone(end: Entry, events_sent: list[str]) -> None:
    """Its client has the messages from the run before, and begins a run without any that are open."""
    entries = [entry(2, "text.delta", text="Hi", part=0), end]
    assert types(wire(Numbered(stream(after_question="q1")), entries)) == events_sent


def test_reasoning_that_a_client_has_of_the_run_is_emptied_before_it_is_sent_again() -> None:
    again = events(Numbered(stream(snapshot=True, reasoning=(f"j1/{EPOCH}-2",))).opening)[1]
    assert again["messages"][1:] == [{"id": f"j1/{EPOCH}-2", "role": "reasoning", "content": ""}]


def test_missing_events_are_an_error_and_a_cut() -> None:
    dialect = Numbered(stream())
    data, state = dialect.gap(dialect.initial_state, Gap("trimmed", EventId(EPOCH, 4)))
    assert types(data) == ["RUN_ERROR"]
    assert b"id: " not in data, "it would be taken for the first event, and dropped"
    assert state is CUT


def test_a_stream_that_ends_early_is_cut() -> None:
    assert Numbered(stream()).closing(1000) is None


def test_an_event_of_another_shape_becomes_no_event() -> None:
    broken = [
        entry(2, "tool.result"),
        entry(3, "text.delta", text=1, part=0),
        entry(4, "question.asked"),
        entry(5, "text.delta", text="a", part="x"),
    ]
    assert wire(Numbered(stream()), broken) == Numbered(stream()).opening


def test_a_schema_that_is_nested_too_deeply_is_left_out() -> None:
    schema: dict[str, Any] = {}
    for _ in range(251):
        schema = {"not": schema}
    asked = events(wire(Numbered(stream()), [entry(2, "question.asked", question_id="q1", prompt="?", schema=schema)]))
    assert [event["type"] for event in asked] == ["RUN_STARTED", "CUSTOM", "RUN_FINISHED"]
    assert "responseSchema" not in asked[-1]["outcome"]["interrupts"][0]


def test_what_is_open_is_bounded() -> None:
    many = [
        *(entry(n, "tool.started", call_id=f"c{n}", name="t") for n in range(1, 400)),
        *(entry(n, "text.delta", text="t", part=0, agent=f"a{n}") for n in range(400, 600)),
        *(entry(n, "section.started", title="same", index=n) for n in range(600, 800)),
    ]
    run = progress(many).run
    assert {len(run.calls), len(run.blocks), len(run.steps)} == {MAX_OPEN}


def test_viewers_at_one_event_share_their_frames() -> None:
    one, other = progress(log("text")[:3]), progress(log("text")[:3])
    assert one == other
    assert hash(one) == hash(other)
    assert one != progress(log("text")[:2])


def test_a_history_keeps_the_newest_messages() -> None:
    messages = [{"id": str(n), "role": "user", "content": "t" * 1000} for n in range(1000)]
    history = History.of(messages)
    assert sum(map(len, history.messages)) <= MAX_HISTORY_BYTES
    assert orjson.loads(history.messages[-1])["id"] == "999"
    large = History.of([{"id": "1", "role": "user", "content": "t" * (2 * MAX_HISTORY_BYTES)}])
    assert len(large.messages) == 1


def test_equal_histories_are_one() -> None:
    again = History.of([{"id": "m1", "role": "user", "content": "Hello"}])
    assert again is HISTORY
