"""Errors in the shape of OpenAI's API: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import orjson
from holdfast.gateway.errors import BodyInvalid, headers_of
from holdfast.shared.errors import HoldfastError, LogUnavailable, QuestionAnswered, RequestInvalid, UnreadableHere
from holdfast.shared.owner import public_id
from holdfast.shared.redis.errors import RedisError
from starlette.responses import Response

# OpenAI's names, where it has one for what Holdfast calls otherwise: (status, code).
_NAMES: Mapping[str, tuple[int, str]] = {
    "agent_unknown": (404, "model_not_found"),
    "session_unknown": (404, "response_not_found"),
    "job_unknown": (404, "response_not_found"),
    "invalid_request": (400, "invalid_value"),
    "idempotency_mismatch": (400, "idempotency_mismatch"),
}
_TYPES: Mapping[int, str] = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class ParameterUnsupported(RequestInvalid):
    """A parameter that no agent could honour."""

    code = "unsupported_parameter"
    status = 400


class ModelUnknown(HoldfastError):
    code = "model_not_found"
    status = 404
    title = "There is no such model"


class Overloaded(HoldfastError):
    """Nothing was accepted."""

    code = "overloaded"
    status = 503
    title = "The gateway has too many streams, or is stopping: try again"
    retry_after_s = 2


class ResponseNotAlone(HoldfastError):
    """One response of a conversation cannot be deleted."""

    code = "response_not_alone"
    status = 409
    title = "A response is deleted with its conversation, which has other responses"
    should_retry = False

    def __init__(self, session_id: str) -> None:
        super().__init__(f"DELETE /v1/sessions/{public_id(session_id)} deletes all of them")


class _JobContinues(HoldfastError):
    """The job of a request is accepted and goes on. `repeatable`: a repeated request finds it, instead of starting
    another one."""

    def __init__(self, name: str, *, repeatable: bool) -> None:
        super().__init__(f"{name} goes on: read it later, or use a stream or the background")
        self.should_retry = repeatable


class Unfinished(_JobContinues):
    code = "timeout"
    status = 504
    title = "The wait ended before the job"


class Unread(_JobContinues):
    code = "log_unavailable"
    status = 503
    title = "The job is accepted, but cannot be read now"
    retry_after_s = 2


class CompletionFailed(HoldfastError):
    """The job has failed or was cancelled. `error`: of its terminal event."""

    status = 502
    title = "The completion failed"

    def __init__(self, status: str, error: Any) -> None:
        known = error if isinstance(error, dict) else {}
        super().__init__(str(known.get("message", f"The job was {status}")))
        self.code = str(known.get("code", status))
        self.should_retry = known.get("retryable") is True


def error_response(error: HoldfastError) -> Response:
    """Return the response to an error. Clients repeat requests by themselves after 408, 409, 429 and 5xx, unless the
    response has `X-Should-Retry: false`."""
    status, code = _NAMES.get(error.code, (error.status, error.code))
    kind = "server_error" if status >= 500 else _TYPES.get(status, "invalid_request_error")
    body = {"error": {"message": _message(error), "type": kind, "param": _param(error), "code": code}}
    return Response(orjson.dumps(body), status, _headers(error), media_type="application/json")


def _message(error: HoldfastError) -> str:
    if isinstance(error, BodyInvalid):
        return "; ".join(f"{field}: {allowed}" for field, allowed in error.problems)
    return error.detail if error.detail == error.title else f"{error.title}: {error.detail}"


def _param(error: HoldfastError) -> str | None:
    if error.code == "agent_unknown":
        return "model"
    return error.field if isinstance(error, RequestInvalid) else None


def _headers(error: HoldfastError) -> dict[str, str]:
    headers = headers_of(error)
    if not _should_retry(error):
        headers["X-Should-Retry"] = "false"  # as of OpenAI's clients
    return headers


def _should_retry(error: HoldfastError) -> bool:
    """Return whether repeating a request may help, and cannot start a second job."""
    if isinstance(error, LogUnavailable):
        return error.job_id is None
    if isinstance(error, QuestionAnswered) or error.status == 500:
        return False
    return getattr(error, "should_retry", True)


@contextmanager
def after_acceptance(name: str, *, repeatable: bool) -> Iterator[None]:
    """Name the response in errors within the block, after its job was accepted."""
    try:
        yield
    except (RedisError, LogUnavailable, UnreadableHere) as error:
        raise Unread(name, repeatable=repeatable) from error


@contextmanager
def renamed(field: str) -> Iterator[None]:
    """Name the input of a job, in errors within the block, as the field of the request that it was made of."""
    try:
        yield
    except BodyInvalid as error:
        raise BodyInvalid([(_renamed(name, field), allowed) for name, allowed in error.problems]) from None


def _renamed(name: str, field: str) -> str:
    if name == "agent":
        return "model"
    return field if name == "input" or name.startswith("input.") else name
