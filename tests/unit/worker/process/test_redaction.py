from __future__ import annotations

import io
import logging

import pytest
from holdfast.worker.attempt.ending import failed
from holdfast.worker.process.redaction import keep_out_of_log_lines, secrets, without_keys
from holdfast.worker.sdk.run import AgentError

PLANTED = "planted.value.of.a.key"


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
    ("name", "value", "found"),
    [
        ("OPENAI_API_KEY", PLANTED, [PLANTED]),
        ("github_token", PLANTED, [PLANTED]),
        ("DB_PASSWORD", PLANTED, [PLANTED]),
        ("OPENAI_BASE_URL", f"https://me:{PLANTED}@host/v1", [PLANTED]),
        ("OPENAI_API_KEY", "test", []),
        ("HOME", PLANTED, []),
        ("KEYBOARD", PLANTED, []),
        ("BROKEN_URL", "http://[", []),
    ],
)
def test_the_secrets_of_an_environment_are_known_by_their_names(name: str, value: str, found: list[str]) -> None:
    assert secrets({name: value}) == found


def test_a_variable_that_the_models_name_holds_a_secret() -> None:
    assert secrets({"HOLDFAST_MODELS": "a=openai:x#MINE, b=openai:y", "MINE": PLANTED}) == [PLANTED]


def test_a_secret_within_another_leaves_nothing_of_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", PLANTED)
    monkeypatch.setenv("B_KEY", f"{PLANTED}-and-more")

    assert without_keys(f"({PLANTED}-and-more)") == "([removed])"


def test_credentials_in_a_url_are_taken_out_of_a_text() -> None:
    assert without_keys("cannot reach https://me:secret@host/v1") == "cannot reach https://[removed]@host/v1"


def test_the_error_of_a_failed_job_has_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", PLANTED)
    opaque = "0123456789abcdef0123456789abcdef"

    unexpected = failed(RuntimeError(f"{PLANTED} and {opaque} and sk-abcdef1234")).fields["error"]["message"]
    meant = failed(AgentError("x", f"{PLANTED} and {opaque} and sk-abcdef1234")).fields["error"]["message"]

    assert unexpected == "RuntimeError: [removed] and [removed] and [removed]"
    assert meant == f"[removed] and {opaque} and [removed]"


@pytest.mark.parametrize("text", ["x" * 300_000, "://" * 100_000, "sk-" * 100_000, "ab-" * 100_000, "*x" * 100_000])
def test_a_long_text_is_looked_through_at_once(text: str) -> None:
    assert len(without_keys(text)) <= len(text)  # what takes ages here holds up every job of the worker


def test_a_traceback_in_the_log_has_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", PLANTED)
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    keep_out_of_log_lines()

    try:
        raise RuntimeError(PLANTED)
    except RuntimeError:
        logging.getLogger("any").exception("it failed with %s", PLANTED)

    assert "it failed with [removed]" in written.getvalue()
    assert "RuntimeError: [removed]" in written.getvalue()
    assert PLANTED not in written.getvalue()
