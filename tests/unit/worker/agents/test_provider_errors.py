from __future__ import annotations

import pytest

from worker.agents.provider_errors import Provider, without_keys


@pytest.mark.parametrize(
    "text",
    [
        "sk-abcdef1234",
        "sk-proj-Ab_12-34.56",
        "sk-ant-api03-xyz",
        "sk-12****89",
        "gsk_abcdefgh",
        "AIzaSyA-1234567890",
        "Bearer abc.def",
        "Basic dXNlcjpwYXNz",
        "hunter2hunter2",
        "0123456789abcdef0123456789abcdef",
    ],
)
def test_a_key_is_taken_out_of_a_text(text: str) -> None:
    assert without_keys(f"The key {text} is wrong", ["hunter2hunter2"]) == "The key [removed] is wrong"


@pytest.mark.parametrize(
    "text",
    [
        "The model gpt-4o-mini-search-preview-2025-03-11 does not exist",
        "max_tokens must be below 128000, see https://platform.example/docs/api-keys",
        "ask-me-anything is no risk-taking",
    ],
)
def test_what_is_no_key_stays(text: str) -> None:
    assert without_keys(text) == text


def test_a_short_key_goes_only_where_it_stands_alone() -> None:
    assert without_keys("test of the latest", ["test"]) == "[removed] of the latest"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"type": "error", "error": {"type": "api_error", "message": "Oops"}}, " (api_error): Oops"),
        ({"message": "Oops", "type": None, "code": "model_gone"}, " (model_gone): Oops"),
        ({"error": "no such model"}, ": no such model"),
        ({"error": {"type": 1, "message": ["x"]}}, ""),
        ("upstream is down", ": upstream is down"),
        ("<html><h1>502</h1></html>", ""),
        (None, ""),
        ([], ""),
    ],
)
def test_the_body_of_an_error_is_told_whatever_its_shape(body: object, told: str) -> None:
    assert Provider("OpenAI").refused(502, body).message == f"OpenAI answered 502{told}"


def test_a_long_message_is_cut() -> None:
    assert len(Provider("OpenAI").refused(500, "x y " * 1000).message) < 400


@pytest.mark.parametrize(
    ("status", "retryable"),
    [(400, False), (408, True), (409, True), (422, False), (500, True), (503, True), (504, True)],
)
def test_only_what_may_pass_by_itself_is_retryable(status: int, retryable: bool) -> None:
    assert Provider("OpenAI").refused(status, None).retryable is retryable
