from __future__ import annotations

import time
from typing import Any

import pytest
from holdfast.worker.agents.messages import Message, conversation
from holdfast.worker.sdk.run import AgentError

from tests.support.record import Record, a_run


def heard(input: Any, *history: dict[str, Any]) -> list[Message]:
    return conversation(a_run(Record(), input, history=list(history)))


def texts(messages: list[Message]) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in messages]


CALLS = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {"call_id": "a", "name": "look", "arguments": {}},
        {"call_id": "b", "name": "look", "arguments": {}},
    ],
}
CUT = "error: the call was cut off before it had a result"


def test_a_text_is_what_the_user_says() -> None:
    assert texts(heard("hi")) == [("user", "hi")]


def test_messages_are_taken_as_they_are_after_the_history() -> None:
    given = {"messages": [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "hi", "id": 3}]}
    earlier = {"role": "assistant", "content": "before", "job_id": "j0", "agent": "demo"}

    assert texts(heard(given, earlier)) == [("assistant", "before"), ("system", "Be brief"), ("user", "hi")]


def test_a_call_whose_job_was_cut_gets_an_answer_behind_those_that_came() -> None:
    answer = {"role": "tool", "call_id": "b", "name": "look", "content": "blue"}

    assert texts(heard("hi", CALLS, answer)) == [("assistant", ""), ("tool", "blue"), ("tool", CUT), ("user", "hi")]


def test_an_answer_without_a_call_is_left_out() -> None:
    stray = {"role": "tool", "call_id": "z", "name": "", "content": "stray"}

    assert texts(heard("hi", stray, CALLS, {"role": "user", "content": "well?"}, stray)) == [
        ("assistant", ""),
        ("tool", CUT),
        ("tool", CUT),
        ("user", "well?"),
        ("user", "hi"),
    ]


def test_each_message_gets_the_first_answer_behind_it() -> None:
    call = {"role": "assistant", "content": "", "tool_calls": [{"call_id": "a", "name": "look"}]}
    answers = [{"role": "tool", "call_id": "a", "content": str(number)} for number in range(3)]

    said = texts(heard("hi", answers[0], call, {"role": "assistant", "content": "…"}, answers[1], call, answers[2]))
    assert said == [
        ("assistant", ""),
        ("tool", "1"),
        ("assistant", "…"),
        ("assistant", ""),
        ("tool", "2"),
        ("user", "hi"),
    ]


def test_thousands_of_calls_without_an_answer_are_read_in_linear_time() -> None:
    calls = [CALLS | {"tool_calls": [{"call_id": str(number), "name": "look"}]} for number in range(6000)]
    before = time.thread_time()
    assert len(heard({"messages": [*calls, {"role": "user", "content": "hi"}]})) == 12_001
    assert time.thread_time() - before < 1


def test_text_in_parts_is_joined() -> None:
    parts = [{"type": "text", "text": "Compare "}, {"type": "text", "text": "teas"}]
    assert texts(heard({"messages": [{"role": "user", "content": parts}]})) == [("user", "Compare teas")]


def test_a_message_that_says_nothing_is_left_out() -> None:
    assert texts(heard("hi", {"role": "assistant", "content": ""})) == [("user", "hi")]


def test_a_message_of_another_shape_in_the_history_is_passed_over() -> None:
    odd: list[dict[str, Any]] = [
        {"role": "robot", "content": "beep"},
        {"role": "user", "content": [{"type": "image"}]},
        {},
    ]

    assert texts(heard("hi", *odd)) == [("user", "hi")]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "robot", "content": "beep"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": 1}]}, "messages.0.content"),
        ({"messages": []}, "says nothing"),
        ("", "says nothing"),
    ],
)
def test_an_input_that_is_no_conversation_is_refused_with_the_place(given: Any, named: str) -> None:
    with pytest.raises(AgentError, match=named) as raised:
        heard(given)

    assert raised.value.code == "input_invalid"
