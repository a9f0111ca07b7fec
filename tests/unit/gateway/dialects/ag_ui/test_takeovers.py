"""What a takeover takes back of a run, and what clients that join later receive."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from holdfast.gateway.dialects.ag_ui.ids import Cursor
from holdfast.gateway.dialects.ag_ui.kept import MAX_KEPT_BYTES
from holdfast.gateway.dialects.ag_ui.translation import discards_for
from holdfast.gateway.dialects.dialect import END
from holdfast.gateway.dialects.translation import Numbered
from holdfast.shared.ids import EventId, parse_id
from holdfast.shared.log.discards import Discard
from holdfast.shared.log.entries import Entry

from tests.support.ag_ui_golden import (
    EPOCH,
    LOGS,
    cursor_of,
    entry,
    events,
    frames,
    joined,
    log,
    progress,
    stream,
    types,
    wire,
)


def test_a_run_that_continues_behind_a_question_takes_back_what_came_before_it() -> None:
    entries = [*log("question")[:4], entry(1, "job.started", EPOCH + 1, discard_from=f"{EPOCH}-2")]
    continued = Numbered(stream(after_question="q1"))
    assert types(wire(continued, entries)) == ["RUN_STARTED", "CUSTOM", "MESSAGES_SNAPSHOT", "CUSTOM"]
    [snapshot] = [event for event in events(wire(continued, entries)) if event["type"] == "MESSAGES_SNAPSHOT"]
    assert [message["id"] for message in snapshot["messages"]] == ["m1"]


@pytest.mark.parametrize(
    "between",
    [
        pytest.param({"kind": "status", "message": "Next"}, id="an event"),
        pytest.param({"kind": "section.started", "title": "B", "index": 1}, id="a section"),
        pytest.param({"kind": "of.the.future"}, id="an unknown event"),
    ],
)
def test_a_takeover_discards_text_behind_another_event_than_a_delta(between: dict[str, Any]) -> None:
    """The writer marks the first delta after a checkpoint, unless another event comes first."""
    entries = [
        entry(2, "text.delta", text="Alpha. ", part=0),
        entry(3, **between),
        entry(4, "text.delta", text="Be", part=0),
        entry(1, "job.started", EPOCH + 1, discard_from=f"{EPOCH}-3"),
    ]
    [snapshot] = [event for event in events(wire(Numbered(stream()), entries)) if event["type"] == "MESSAGES_SNAPSHOT"]
    assert snapshot["messages"][-1]["content"] == "Alpha. "


def test_discarded_reasoning_is_emptied() -> None:
    """HttpAgent keeps reasoning that a snapshot lacks, unless the snapshot has other reasoning."""
    entries = [
        entry(2, "reasoning.delta", text="Hm", part=0),
        entry(1, "job.started", EPOCH + 1, discard_from=f"{EPOCH}-2"),
    ]
    [snapshot] = [event for event in events(wire(Numbered(stream()), entries)) if event["type"] == "MESSAGES_SNAPSHOT"]
    assert snapshot["messages"][-1] == {"id": f"j1/{EPOCH}-2", "role": "reasoning", "content": ""}


def test_a_run_that_is_too_long_to_correct_ends_with_an_error() -> None:
    text = "t" * 4096
    long = [entry(n, "text.delta", text=text, part=0) for n in range(2, 3 + MAX_KEPT_BYTES // 4096)]
    assert progress(long).run.kept is None
    middle = entry(1, "job.started", EPOCH + 1, discard_from=f"{EPOCH}-5")
    dialect = Numbered(stream())
    data, state = dialect.frames(dialect.initial_state, [*long, middle])
    assert (types(data)[-1], state) == ("RUN_ERROR", END)
    whole = entry(1, "job.started", EPOCH + 1, discard_from=f"{EPOCH}-2")
    data, state = dialect.frames(dialect.initial_state, [*long, whole])
    assert types(data)[-2:] == ["MESSAGES_SNAPSHOT", "CUSTOM"]


def test_a_run_that_is_too_long_to_correct_has_its_usage_and_empties_its_reasoning() -> None:
    text = "t" * 4096
    entries = [
        entry(2, "usage", model="m", input_tokens=1, output_tokens=2),
        entry(3, "reasoning.delta", text="Hm", part=0),
        *(entry(n, "text.delta", text=text, part=0) for n in range(4, 5 + MAX_KEPT_BYTES // 4096)),
        entry(999, "usage", model="m", input_tokens=3, output_tokens=4),
    ]
    finished = events(wire(Numbered(stream()), [*entries, entry(1000, "job.completed")]))[-1]
    assert finished["usage"] == [{"model": "m", "inputTokens": 4, "outputTokens": 6}]
    started = entry(1, "job.started", EPOCH + 1, discard_from=f"{EPOCH}-2")
    [snapshot] = [
        event for event in events(wire(Numbered(stream()), [*entries, started])) if event["type"] == "MESSAGES_SNAPSHOT"
    ]
    assert snapshot["messages"][1:] == [{"id": f"j1/{EPOCH}-3", "role": "reasoning", "content": ""}]


@pytest.mark.parametrize("joins", [False, True])
def test_a_call_that_a_takeover_cuts_is_made_again(*, joins: bool) -> None:
    """Another step was recorded while its arguments were streaming: the rest of them comes with the next attempt."""
    entries = [
        entry(2, "tool.started", call_id="c1", name="t"),
        entry(3, "tool.arguments.delta", call_id="c1", delta='{"x":'),
        entry(4, "text.delta", text="Lost", part=0, checkpoint=True),
        entry(1, "job.started", EPOCH + 1, discard_from=f"{EPOCH}-4"),
        entry(2, "tool.arguments.delta", EPOCH + 1, call_id="c1", delta="1}"),
        entry(3, "tool.called", EPOCH + 1, call_id="c1", name="t", arguments={"x": 1}),
        entry(4, "tool.result", EPOCH + 1, call_id="c1", result="ok"),
    ]
    discards = (Discard("j1", EventId(EPOCH, 4), EventId(EPOCH + 1, 1)),) if joins else ()
    shown = events(wire(Numbered(stream(snapshot=joins, discards=discards)), entries))
    last = max(n for n, event in enumerate(shown) if event["type"] == "MESSAGES_SNAPSHOT")
    assert shown[last]["messages"] == [{"id": "m1", "role": "user", "content": "Hello"}]
    again = [event for event in shown[last:] if event["type"].startswith("TOOL_CALL")]
    assert [event["type"] for event in again] == [f"TOOL_CALL_{name}" for name in ("START", "ARGS", "END", "RESULT")]
    assert again[1]["delta"] == '{"x":1}'


def takeover_of_a_long_run() -> tuple[list[Entry], Discard]:
    """A text longer than what is kept, a takeover that discards its end, and the rest."""
    text = "t" * 4096
    long = [entry(n, "text.delta", text=text, part=0) for n in range(2, 3 + MAX_KEPT_BYTES // 4096)]
    started = entry(1, "job.started", EPOCH + 1, discard_from=f"{EPOCH}-5")
    rest = [entry(2, "text.delta", EPOCH + 1, text="rest", part=0), entry(3, "job.completed", EPOCH + 1)]
    return [*long, started, *rest], Discard("j1", EventId(EPOCH, 5), started.id)


def test_a_client_that_joins_is_shown_nothing_that_was_discarded() -> None:
    entries, discard = takeover_of_a_long_run()
    shown = events(wire(Numbered(joined(discards=(discard,))), entries))
    assert shown[-1]["type"] == "RUN_FINISHED"
    assert "".join(event.get("delta", "") for event in shown) == 3 * 4096 * "t" + "rest"
    assert [event["type"] for event in shown].count("MESSAGES_SNAPSHOT") == 1


@pytest.mark.parametrize("name", [name for name in LOGS if "takeover" in name])
def test_what_follows_discarded_events_is_the_same_for_all(name: str) -> None:
    entries, discards = log(name), tuple[Discard, ...]()
    for one in entries:
        if b"discard_from" in one.body:
            first = parse_id(orjson.loads(one.body)["discard_from"])
            discards = (*(discard for discard in discards if discard.first < first), Discard("j1", first, one.id))
    started = discards[-1].started
    sent, joining = (wire(Numbered(joined(discards=given)), entries) for given in ((), discards))
    behind = [[frame for frame in frames(data) if cursor_of(frame).id > started] for data in (sent, joining)]
    assert behind[0] == behind[1] != []
    assert types(joining).count("MESSAGES_SNAPSHOT") == 1


@pytest.mark.parametrize(
    ("cursor", "skips"),
    [(None, True), ("0-0.1", True), ("2-4.0", True), ("2-5.0", False), ("3-1.0", False), ("3-2.0", True)],
)
def test_events_that_a_client_may_have_received_are_taken_back(cursor: str | None, *, skips: bool) -> None:
    discard = Discard("j1", EventId(2, 5), EventId(3, 1))
    place = cursor and Cursor(parse_id(cursor.partition(".")[0]), int(cursor[-1]))
    assert discards_for(place or None, [discard]) == ((discard,) if skips else ())


def test_kept_deltas_are_merged() -> None:
    kept = progress([entry(n, "text.delta", text="word ", part=0) for n in range(2, 500)]).run.kept
    assert kept is not None
    assert kept.earlier is None
    assert kept.text == "word " * 498
