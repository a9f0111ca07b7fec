"""What the command prints of events."""

from __future__ import annotations

import io
from typing import Any

import click
import pytest
from holdfast.client import Event

from holdfast.cli.show import JsonShow, TerminalShow

TALK = [
    Event(None, {"type": "job.queued", "job_id": "j", "position": 2}),
    Event("1-1", {"type": "job.started", "job_id": "j", "agent": "demo", "attempt": 1}),
    Event("1-2", {"type": "status", "job_id": "j", "message": "Searching"}),
    Event("1-3", {"type": "tool.called", "job_id": "j", "name": "clock", "arguments": {}}),
    Event("1-4", {"type": "tool.result", "job_id": "j", "result": 5}),
    Event("1-5", {"type": "text.delta", "job_id": "j", "text": "It is ", "part": 0}),
    Event("1-6", {"type": "text.delta", "job_id": "j", "text": "five.", "part": 0}),
    Event("1-7", {"type": "data", "job_id": "j", "name": "source", "value": "a clock"}),
    Event("1-8", {"type": "job.failed", "job_id": "j", "error": {"code": "timeout", "message": "Too late"}}),
]


def test_a_terminal_shows_the_text_as_it_grows_and_the_rest_in_lines_of_their_own() -> None:
    out = io.StringIO()
    show = TerminalShow(out)
    for event in TALK:
        show(event)
    show.end()
    assert click.unstyle(out.getvalue()).splitlines() == [
        "waiting, 2 before it",
        "demo, attempt 1",
        "… Searching",
        "→ clock {}",
        "← 5",
        "It is five.",
        'data {"name":"source","value":"a clock"}',
        "failed: Too late (timeout)",
    ]


def delta(agent: str | None, text: str, kind: str = "text.delta") -> Event:
    return Event("1-1", {"type": kind, "job_id": "j", "text": text, "part": 0} | ({"agent": agent} if agent else {}))


def shown(*events: Event) -> list[str]:
    """The lines on a terminal, without colors."""
    out = io.StringIO()
    show = TerminalShow(out)
    for event in events:
        show(event)
    show.end()
    return click.unstyle(out.getvalue()).splitlines()


def test_agents_that_write_at_the_same_time_are_blocks_with_their_name() -> None:
    words = [delta(agent, f"{word} ") for word in ("As", "I", "looked.") for agent in ("researcher", "editor")]
    assert shown(*words, delta(None, "Done.")) == ["researcher │ As I looked. ", "editor │ As I looked. ", "Done."]


def test_each_line_of_an_agent_begins_with_its_name() -> None:
    result = Event("1-2", {"type": "tool.result", "job_id": "j", "agent": "editor", "call_id": "c", "result": 5})
    assert shown(delta("researcher", "one\ntw"), result, delta("researcher", "o")) == [
        "researcher │ one",
        "researcher │ tw",
        "editor │ ← 5",
        "researcher │ o",
    ]


def test_the_next_agent_is_written_as_it_grows_once_the_one_before_is_quiet() -> None:
    out = io.StringIO()
    show = TerminalShow(out)
    show(delta("researcher", "short"))
    for number in range(20):
        show(delta("editor", f"w{number} "))
    assert click.unstyle(out.getvalue()).splitlines()[-1].endswith("w18 w19 ")


def test_a_question_comes_below_all_that_was_written_before_it() -> None:
    asked = Event(
        "1-2", {"type": "question.asked", "job_id": "j", "question_id": "q", "prompt": "Which?", "schema": {}}
    )
    lines = shown(delta("researcher", "one"), delta("editor", "two"), asked)
    assert lines[:2] == ["researcher │ one", "editor │ two"]
    assert lines[2].startswith("? Which?")


def test_the_text_that_is_held_back_is_bounded() -> None:
    out = io.StringIO()
    show = TerminalShow(out)
    show(delta("researcher", "one "))
    for _ in range(5):
        show(delta("editor", "x" * 20_000))
        show(delta("researcher", "one "))
    assert "x" * 60_000 in out.getvalue()


def test_the_last_line_is_ended_once() -> None:
    out = io.StringIO()
    show = TerminalShow(out)
    show(Event("1-1", {"type": "text.delta", "text": "bye"}))
    show.end()
    show.end()
    assert out.getvalue() == "bye\n"


def test_an_attempt_of_a_job_whose_start_was_not_shown_is_not_said_to_begin_again() -> None:
    out = io.StringIO()
    TerminalShow(out)(Event("2-1", {"type": "job.started", "agent": "demo", "attempt": 2, "discard_from": "1-1"}))
    assert click.unstyle(out.getvalue()) == "demo, attempt 2\n"


def test_an_attempt_that_keeps_what_was_finished_is_said_to_go_on() -> None:
    out = io.StringIO()
    show = TerminalShow(out)
    started = {"type": "job.started", "job_id": "j", "agent": "demo"}
    show(Event("1-1", {**started, "attempt": 1}))
    show(Event("2-1", {**started, "attempt": 2, "discard_from": "1-7"}))
    show(Event("3-1", {**started, "attempt": 3, "discard_from": "1-1"}))
    assert click.unstyle(out.getvalue()).splitlines() == [
        "demo, attempt 1",
        "demo, attempt 2: continuing after the last completed step",
        "demo, attempt 3: beginning again",
    ]


def test_elsewhere_each_event_is_one_line_of_json_with_its_id_first() -> None:
    out = io.StringIO()
    show = JsonShow(out)
    show(TALK[0])
    show(TALK[5])
    assert out.getvalue().splitlines() == [
        '{"type":"job.queued","job_id":"j","position":2}',
        '{"id":"1-5","type":"text.delta","job_id":"j","text":"It is ","part":0}',
    ]


def test_what_a_model_says_cannot_steer_the_terminal() -> None:
    out = io.StringIO()
    show = TerminalShow(out)
    hostile = "a\x1b[2Jb\x9b2Jc\x07\r\x7f\td\n"
    show(Event("1-1", {"type": "text.delta", "text": hostile}))
    show(Event("1-2", {"type": "tool.result", "result": {"x": hostile}}))
    show(Event("1-3", {"type": "job.failed", "error": {"message": hostile, "code": "c"}}))
    shown = click.unstyle(out.getvalue())
    assert not {"\x1b", "\x9b", "\x07", "\r", "\x7f"} & set(shown)
    assert shown.startswith("a[2Jb2Jc\td\n")


@pytest.mark.parametrize(
    ("schema", "wanted"),
    [
        ({}, ""),
        ({"type": "string"}, " [text]"),
        ({"type": "boolean"}, " [true | false]"),
        ({"enum": ["red", "green", 3]}, " [red | green | 3]"),
        ({"type": ["integer", "null"]}, ""),
        (
            {"type": "object", "properties": {"city": {"type": "string"}, "pace": {"enum": ["slow"]}, "more": {}}},
            " [city: text, pace: slow, more: anything]",
        ),
    ],
)
def test_a_question_says_what_may_be_answered_and_then_what_was(schema: dict[str, Any], wanted: str) -> None:
    out = io.StringIO()
    show = TerminalShow(out)
    show(Event("1-1", {"type": "question.asked", "question_id": "q", "prompt": "Which?", "schema": schema}))
    show(Event("1-2", {"type": "question.answered", "question_id": "q", "value": {"city": "Rome"}}))
    show(Event("1-3", {"type": "question.answered", "question_id": "q", "value": "red"}))
    assert click.unstyle(out.getvalue()).splitlines() == [
        f"? Which?{wanted}  answer it on the page, or with `holdfast answer SESSION VALUE`",
        '! {"city":"Rome"}',
        "! red",
    ]
