from __future__ import annotations

from holdfast.worker.agents.messages import (
    BYTES_PER_TOKEN,
    TOKENS_PER_MESSAGE,
    Message,
    ToolUse,
    estimated,
    fitting,
    tokens,
)
from hypothesis import given
from hypothesis import strategies as some

SIZE = 30
EACH = TOKENS_PER_MESSAGE + SIZE // BYTES_PER_TOKEN


def said(*roles: str) -> list[Message]:
    return [Message.model_validate({"role": role, "content": f"{number:0{SIZE}}"}) for number, role in enumerate(roles)]


def test_what_fits_is_left_as_it_is() -> None:
    messages = said("system", "user", "assistant", "user")

    assert fitting(messages, 4 * EACH) == messages


def test_the_oldest_turns_go_first_and_no_more_than_needed() -> None:
    messages = said("user", "assistant", "user", "assistant", "user", "assistant", "user")

    assert fitting(messages, 5 * EACH) == messages[2:]
    assert fitting(messages, 5 * EACH - 1) == messages[4:]


def test_a_tool_s_answer_goes_with_its_call() -> None:
    messages = said("user", "assistant", "tool", "tool", "assistant", "user")

    assert fitting(messages, 5 * EACH) == messages[5:]


def test_system_messages_stay_wherever_they_stand() -> None:
    messages = said("system", "user", "assistant", "developer", "user", "user")

    assert fitting(messages, 3 * EACH) == [messages[0], messages[3], messages[5]]


def test_the_last_turn_stays_even_if_it_alone_is_too_much() -> None:
    messages = said("user", "assistant", "user", "assistant", "tool")

    assert fitting(messages, 1) == messages[2:]


def test_calls_count_as_well() -> None:
    call = ToolUse(call_id="c", name="look", arguments={"at": "x" * 3000})

    assert estimated([Message(role="assistant", tool_calls=[call])]) > 1000


def test_a_script_of_many_bytes_takes_more_tokens_than_one_of_few() -> None:
    assert (tokens("four"), tokens("船四艘です"), tokens("")) == (2, 5, 0)


@given(some.lists(some.sampled_from(["user", "assistant", "tool", "system"]), max_size=30), some.integers(1, 500))
def test_what_is_left_is_in_order_and_begins_with_a_whole_turn(roles: list[str], budget: int) -> None:
    messages = said(*roles)
    left = fitting(messages, budget)
    talk = [message for message in left if message.role != "system"]

    assert [message for message in messages if message in left] == left
    assert talk == [message for message in messages if message.role != "system"][-len(talk) :] or not talk
    assert len(left) == len(messages) or estimated(left) <= budget or talk[0] in _last_turn(messages)
    assert len(left) == len(messages) or talk[0].role == "user"


def _last_turn(messages: list[Message]) -> list[Message]:
    last = max(number for number, message in enumerate(messages) if message.role == "user")
    return messages[last:]
