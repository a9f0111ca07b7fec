from __future__ import annotations

from typing import Any

import orjson

from shared.conversation import Message, fold


def folded(*events: dict[str, Any]) -> list[Message]:
    messages = fold(orjson.dumps({"job_id": "j", **event}) for event in events)
    return [{name: value for name, value in message.items() if name != "job_id"} for message in messages]


def text(piece: str, **more: Any) -> dict[str, Any]:
    return {"type": "text.delta", "text": piece, "part": 0, **more}


def called(call_id: str, name: str) -> dict[str, Any]:
    return {"type": "tool.called", "call_id": call_id, "name": name, "arguments": {"x": 1}}


def test_deltas_become_one_answer_to_the_input() -> None:
    assert folded(
        {"type": "job.started", "input": "hi"}, text("Hel"), {"type": "status", "message": "…"}, text("lo")
    ) == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "Hello"},
    ]


def test_messages_given_as_input_stay_as_they_are() -> None:
    given = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
    assert folded({"type": "job.started", "input": {"messages": given}}) == given


def test_calls_of_one_turn_stand_in_one_message_and_results_follow_it() -> None:
    assert folded(
        text("Let me see."),
        called("c1", "clock"),
        called("c2", "calculator"),
        {"type": "tool.result", "call_id": "c2", "result": {"n": 2}},
        {"type": "tool.failed", "call_id": "c1", "error": "broken"},
        text("Done."),
    ) == [
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [
                {"call_id": "c1", "name": "clock", "arguments": {"x": 1}},
                {"call_id": "c2", "name": "calculator", "arguments": {"x": 1}},
            ],
        },
        {"role": "tool", "call_id": "c2", "name": "calculator", "content": '{"n":2}'},
        {"role": "tool", "call_id": "c1", "name": "clock", "content": "error: broken"},
        {"role": "assistant", "content": "Done."},
    ]


def test_a_later_attempt_begins_again() -> None:
    assert folded(
        {"type": "job.started", "input": "hi"}, text("old"), {"type": "job.started", "input": "hi"}, text("new")
    ) == [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "new"}]


def test_agents_that_speak_in_one_job_have_messages_of_their_own() -> None:
    assert folded(text("a", agent="one"), text("b", agent="two")) == [
        {"role": "assistant", "content": "a", "agent": "one"},
        {"role": "assistant", "content": "b", "agent": "two"},
    ]


def test_a_call_that_broke_off_while_it_streamed_was_never_made() -> None:
    assert folded(
        text("Let me see."),
        {"type": "tool.started", "call_id": "c", "name": "clock"},
        {"type": "tool.arguments.delta", "call_id": "c", "delta": '{"x'},
        {"type": "tool.failed", "call_id": "c", "error": "the answer broke off"},
    ) == [{"role": "assistant", "content": "Let me see."}]


def test_what_takes_over_answers_in_a_message_of_its_own() -> None:
    assert folded(
        text("Rome wa"), {"type": "fallback", "reason": "cut", "to": "another"}, text("Rome was not built in a day")
    ) == [
        {"role": "assistant", "content": "Rome wa"},
        {"role": "assistant", "content": "Rome was not built in a day"},
    ]
