"""What a chat transport sends, and the job that it becomes."""

from __future__ import annotations

from typing import Any

import pytest
from holdfast.gateway.dialects.ai_sdk.chat_body import job_value, message_key, parse_chat_body
from holdfast.gateway.dialects.following import Continuation
from holdfast.gateway.errors import BodyInvalid
from holdfast.shared.errors import RequestInvalid


def message(role: str, *texts: str, **fields: Any) -> dict[str, Any]:
    return {"id": "m", "role": role, "parts": [{"type": "text", "text": text} for text in texts], **fields}


FILE = {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,AA=="}


def value_of(*messages: dict[str, Any], after: str | None = None, first: int = 0, **fields: Any) -> dict[str, Any]:
    return job_value(parse_chat_body({"messages": list(messages), **fields}), "demo", Continuation(after, first))


def test_a_user_message_is_a_text() -> None:
    assert value_of(message("user", "Hel", "lo")) == {"agent": "demo", "input": "Hello", "after": None}


def test_the_input_is_what_is_behind_the_job_that_is_followed() -> None:
    chat = message("user", "One"), message("assistant", "Answer"), message("user", "Two")
    assert value_of(*chat, after="j1", first=2) == {"agent": "demo", "input": "Two", "after": "j1"}


def test_messages_of_the_user_only_are_one_text() -> None:
    assert value_of(message("user", "One"), message("user", "Two"))["input"] == "One\n\nTwo"


def test_another_answer_interrupts_the_running_one() -> None:
    again: dict[str, Any] = {"trigger": "regenerate-message"}
    assert value_of(message("user", "Hi"), **again)["on_busy"] == "interrupt"
    assert value_of(message("user", "Hi"), **again, on_busy="queue")["on_busy"] == "queue"
    assert "on_busy" not in value_of(message("user", "Hi"))


def test_the_whole_chat_is_a_list_of_messages_without_empty_ones() -> None:
    chat = message("system", "Be brief"), message("user", "One"), message("assistant"), message("user", "Two")
    assert value_of(*chat)["input"] == {
        "messages": [
            {"role": "system", "content": "Be brief"},
            {"role": "user", "content": "One"},
            {"role": "user", "content": "Two"},
        ]
    }


def test_files_are_parts_of_a_message() -> None:
    given = {"id": "m", "role": "user", "parts": [{"type": "text", "text": "See"}, {"type": "data-x", "data": 1}, FILE]}
    content = [{"type": "text", "text": "See"}, FILE]
    assert value_of(given)["input"] == {"messages": [{"role": "user", "content": content}]}


def test_the_fields_of_a_job_are_passed_on_and_those_of_the_application_ignored() -> None:
    fields: dict[str, Any] = {
        "options": {"model": "m"},
        "metadata": {"a": 1},
        "timeout_s": 5,
        "on_busy": "reject",
        "theme": "dark",
    }
    passed_on = {name: value for name, value in fields.items() if name != "theme"}
    assert value_of(message("user", "Hi"), **fields) == {"agent": "demo", "input": "Hi", "after": None, **passed_on}


@pytest.mark.parametrize(
    ("body", "field", "allowed"),
    [
        ([], "body", "should be an object"),
        ({}, "messages", "is required"),
        ({"messages": "Hi"}, "messages", "should be an array"),
        ({"messages": []}, "messages", "should have at least 1 item"),
        ({"messages": [1]}, "messages.0", "should be an object"),
        ({"messages": [message("tool", "x")]}, "messages.0.role", "should be one of system, user, assistant"),
        ({"messages": [{"role": "user", "content": "x"}]}, "messages.0.parts", "should be an array of objects"),
        ({"messages": [message("user", "x")], "id": 1}, "id", "should be a valid string"),
        ({"messages": [message("user", "x")], "trigger": "now"}, "trigger", "should be 'submit-message' or"),
    ],
)
def test_an_error_names_the_field_and_what_is_allowed(body: Any, field: str, allowed: str) -> None:
    with pytest.raises(BodyInvalid) as caught:
        parse_chat_body(body)
    assert caught.value.problems[0][0] == field
    assert caught.value.problems[0][1].startswith(allowed)


def test_the_last_message_is_one_of_the_user() -> None:
    with pytest.raises(RequestInvalid, match="the last message must be one of the user"):
        parse_chat_body({"messages": [message("user", "Hi"), message("assistant", "Hello")]})


def key_of(given: dict[str, Any], **fields: Any) -> str | None:
    return message_key(parse_chat_body({"messages": [given], **fields}), "demo")


def test_the_same_message_has_the_same_key() -> None:
    assert key_of(message("user", "Hi")) == key_of(message("user", "Hi"))
    assert key_of(message("user", "Hi")) != key_of(message("user", "Ho"))
    assert key_of(message("user", "Hi")) != key_of(message("user", "Hi", id="n"))
    assert key_of(message("user", "Hi")) != key_of(message("user", "Hi"), options={"model": "m"})


def test_a_key_names_the_field_that_is_not_json() -> None:
    with pytest.raises(RequestInvalid, match="options: nested too deeply"):
        key_of(message("user", "Hi"), options={"seed": 10**40})


def test_a_retry_that_names_its_message_has_the_same_key() -> None:
    assert key_of(message("user", "Hi"), messageId="m") == key_of(message("user", "Hi"))


def test_another_answer_is_another_job() -> None:
    assert key_of(message("user", "Hi"), trigger="regenerate-message") is None
    assert key_of(message("user", "Hi", id=7)) is None
