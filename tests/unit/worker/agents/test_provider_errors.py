from __future__ import annotations

import pytest
from holdfast.worker.agents.provider_errors import Provider


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
