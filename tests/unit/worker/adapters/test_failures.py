"""The provider's error inside whatever a framework wraps around it."""

from __future__ import annotations

import anthropic
import httpx2
import openai
import pytest
from holdfast.worker.adapters.failures import provider_failure

REQUEST = httpx2.Request("POST", "https://provider.example/v1")


def _wrapped(error: Exception) -> Exception:
    """As frameworks do: one raised from it, another while that was handled, all in a group."""
    try:
        try:
            raise RuntimeError("the component failed") from error
        except RuntimeError:
            raise ValueError("the pipeline failed")  # noqa: B904
    except ValueError as outer:
        return ExceptionGroup("tasks", [outer])


def _status(kind: type[openai.APIStatusError | anthropic.APIStatusError], status: int, error: str) -> Exception:
    body = {"error": {"type": error, "message": "no, sk-abcdefghijkl"}}
    return kind("refused", response=httpx2.Response(status, request=REQUEST), body=body)


def _connection(cause: Exception) -> Exception:
    error = openai.APIConnectionError(request=REQUEST)
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        (_status(openai.RateLimitError, 429, "rate_limit_error"), "provider_rate_limited", True),
        (_status(openai.AuthenticationError, 401, "authentication_error"), "provider_refused_key", False),
        (_status(anthropic.InternalServerError, 529, "overloaded_error"), "provider_overloaded", True),
        (openai.APITimeoutError(request=REQUEST), "provider_timeout", True),
        (_connection(httpx2.ConnectError("refused")), "provider_unavailable", True),
        (_connection(httpx2.RemoteProtocolError("cut")), "provider_stream_cut", True),
        (httpx2.RemoteProtocolError("cut"), "provider_stream_cut", True),
        (httpx2.ReadTimeout("slow"), "provider_timeout", True),
        (httpx2.ConnectTimeout("slow"), "provider_unavailable", True),
        (
            openai.APIError("broke off", request=REQUEST, body={"type": "overloaded_error", "message": "busy"}),
            "provider_overloaded",
            True,
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "wrapped"])
def test_it_is_found_and_named(error: Exception, code: str, retryable: bool, wrapped: bool) -> None:
    failure = provider_failure(_wrapped(error) if wrapped else error)

    assert failure is not None
    assert (failure.code, failure.retryable) == (code, retryable)
    assert "sk-abc" not in failure.message


@pytest.mark.parametrize("error", [ValueError("a bug"), openai.OpenAIError("no key"), OSError("disk")])
def test_what_is_not_the_provider_s_is_left_alone(error: Exception) -> None:
    assert provider_failure(_wrapped(error)) is None


def test_errors_that_caused_each_other_in_a_circle_end_the_search() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__context__, second.__context__ = second, first

    assert provider_failure(first) is None
