from __future__ import annotations

from typing import Any

import orjson
import pytest
from holdfast.shared.log.conversation import CONVERSATION_BYTES, Fold, Message
from holdfast.shared.scripts import source


def folded(*events: dict[str, Any], given: Any = None, **how: Any) -> list[Message]:
    fold = Fold("j", given, **how)
    for event in events:
        fold.add(event["type"], orjson.dumps({"job_id": "j", **event}))
    messages = [orjson.loads(message) for message in fold.messages()]
    assert {message.pop("job_id") for message in messages} <= {"j"}
    return messages


def text(piece: str, **more: Any) -> dict[str, Any]:
    return {"type": "text.delta", "text": piece, "part": 0, **more}


def called(call_id: str, name: str) -> dict[str, Any]:
    return {"type": "tool.called", "call_id": call_id, "name": name, "arguments": {"x": 1}}


def test_deltas_become_one_answer_to_the_input() -> None:
    assert folded(text("Hel"), {"type": "status", "message": "…"}, text("lo"), given="hi") == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "Hello"},
    ]


def test_messages_given_as_input_stay_as_they_are() -> None:
    given = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
    assert folded(given={"messages": given}) == given


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


def test_beyond_its_limit_it_keeps_the_newest_messages() -> None:
    pieces = [
        part for number in range(9) for part in (text(f"{number}" * 50), {"type": "fallback", "reason": "", "to": ""})
    ]
    kept = folded(*pieces, given="hi", limit_bytes=300)
    assert [message["content"][:1] for message in kept] == ["6", "7", "8"]


def test_of_an_answer_that_alone_is_beyond_the_limit_it_keeps_the_end() -> None:
    (message,) = folded(*(text(f"é{number} ") for number in range(1000)), given="hi", limit_bytes=200)
    assert message["truncated"] is True
    assert "".join(f"é{number} " for number in range(1000)).endswith(message["content"])
    assert 50 < len(message["content"]) < 200


def test_no_character_makes_its_json_longer_than_the_limit() -> None:
    fold = Fold("j", None, limit_bytes=300)
    for _ in range(100):
        fold.add("text.delta", orjson.dumps(text("\x00" * 10)))
    assert 0 < sum(map(len, fold.messages())) <= 300


@pytest.mark.parametrize("limit_bytes", range(150, 170))
def test_the_beginning_is_cut_off_between_two_characters(limit_bytes: int) -> None:
    whole = 'a\\"\n\x00é€𝄞\\u' * 30
    (message,) = folded(text(whole), limit_bytes=limit_bytes)
    assert message["truncated"] is True
    assert whole.endswith(message["content"])
    assert len(message["content"]) > 10


def test_calls_without_results_do_not_pile_up() -> None:
    (message,) = folded(*(called(f"c{number}", "clock") for number in range(1000)), text("end"), limit_bytes=500)
    assert message["content"] == "end"
    assert 0 < len(message["tool_calls"]) < 10


def test_an_answer_whose_first_events_are_unknown_says_so() -> None:
    assert folded(text("lo"), given="hi", truncated=True) == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "lo", "truncated": True},
    ]


def test_the_stored_conversation_has_the_same_limit() -> None:
    assert f"local CONVERSATION_BYTES = {CONVERSATION_BYTES // 2**20} * 1024 * 1024" in source("session", "finish")


def test_a_call_that_a_message_would_nest_too_deeply_is_left_out() -> None:
    """It stands two levels deeper in a message than in its event, which orjson still encodes."""
    deep: Any = 1
    for _ in range(252):
        deep = [deep]
    fold = Fold("j", None)
    body = orjson.dumps({"type": "tool.called", "call_id": "c", "name": "t", "arguments": deep})
    assert not fold.add("tool.called", body)
    assert fold.messages() == []
