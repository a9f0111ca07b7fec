"""What a RunAgentInput asks for."""

from __future__ import annotations

from holdfast.gateway.dialects.ag_ui.run_input import job_value, parse_run_input
from holdfast.gateway.dialects.following import Continuation


def test_an_empty_message_of_the_user_is_the_last_one_in_a_new_session_too() -> None:
    messages = [
        {"id": "1", "role": "user", "content": "Hello"},
        {"id": "2", "role": "assistant", "content": ""},
        {"id": "3", "role": "assistant", "content": "Hi"},
        {"id": "4", "role": "user", "content": ""},
    ]
    given = parse_run_input({"threadId": "t1", "runId": "r1", "messages": messages})
    sent = job_value(given, "a", Continuation())["input"]["messages"]
    assert [(message["role"], message["content"]) for message in sent] == [
        ("user", "Hello"),
        ("assistant", "Hi"),
        ("user", ""),
    ]
