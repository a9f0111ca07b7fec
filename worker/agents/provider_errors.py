"""Errors of providers: describe them for users, without keys, and retry requests as long as nothing of the answer was
emitted."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from holdfast.worker.agents.emitter import AnswerEmitter
from holdfast.worker.process.redaction import without_keys
from holdfast.worker.sdk.run import AgentError, Run

MAX_DETAIL_CHARS = 300
# A longer wait fails the job with a message, instead of letting users wait without one.
LONGEST_RETRY_AFTER_S = 60.0
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 8.0

_CODES: dict[int | str, str] = {
    401: "provider_refused_key",
    402: "provider_quota_exhausted",
    403: "provider_refused_key",
    429: "provider_rate_limited",
    529: "provider_overloaded",
    "authentication_error": "provider_refused_key",
    "billing_error": "provider_quota_exhausted",
    "insufficient_quota": "provider_quota_exhausted",
    "invalid_request_error": "provider_bad_request",
    "overloaded_error": "provider_overloaded",
    "permission_error": "provider_refused_key",
    "rate_limit_error": "provider_rate_limited",
}
_RETRYABLE = frozenset({"provider_overloaded", "provider_rate_limited", "provider_unavailable"})
# Temporary refusals: a timeout, a conflict, too early.
_PASSING = frozenset({408, 409, 425})

Result = TypeVar("Result")


class ProviderFailure(AgentError):
    """An AgentError of a provider. `retry_after_s`: the wait that the provider demands, in seconds."""

    def __init__(self, code: str, message: str, *, retryable: bool = False, retry_after_s: float | None = None) -> None:
        super().__init__(code, message, retryable=retryable)
        self.retry_after_s = retry_after_s


class Provider:
    """Describes the errors of one provider. `keys` are redacted from its messages."""

    def __init__(self, name: str, keys: Iterable[str | None] = ()) -> None:
        self.name = name
        self._keys = [key for key in keys if key]

    def refused(self, status: int, body: Any, retry_after_s: float | None = None) -> ProviderFailure:
        """Describe an error response."""
        kind, detail = _detail(body)
        what = f"answered {status}"
        if retry_after_s is not None and retry_after_s > LONGEST_RETRY_AFTER_S:
            what += f" and asks to be left alone for {retry_after_s:.0f} s"
        return self._error(_code(status, kind), what, kind, detail, retry_after_s)

    def broke_off(self, body: Any) -> ProviderFailure:
        """Describe an error in the middle of an answer."""
        kind, detail = _detail(body)
        return self._error(_code(500, kind), "broke off in the middle of its answer", kind, detail)

    def unreachable(self) -> ProviderFailure:
        return ProviderFailure("provider_unavailable", f"{self.name} could not be reached", retryable=True)

    def cut(self) -> ProviderFailure:
        message = f"The connection to {self.name} was cut in the middle of its answer"
        return ProviderFailure("provider_stream_cut", message, retryable=True)

    def silent(self, idle_timeout_s: float) -> ProviderFailure:
        message = f"{self.name} sent nothing for {idle_timeout_s:g} s"
        return ProviderFailure("provider_timeout", message, retryable=True)

    def garbled(self) -> ProviderFailure:
        message = f"{self.name} sent something that cannot be understood"
        return ProviderFailure("provider_bad_response", message, retryable=True)

    def no_key(self, variable: str) -> AgentError:
        return AgentError("provider_no_key", f"There is no key for {self.name}: {variable} is not set for the worker")

    def no_sdk(self, extra: str) -> AgentError:
        return AgentError("provider_not_installed", f"The worker lacks the SDK of {self.name}: install {extra}")

    def _error(
        self, code: str, what: str, kind: str, detail: str, retry_after_s: float | None = None
    ) -> ProviderFailure:
        text = "".join((f" ({kind})" if kind else "", f": {detail}" if detail else ""))
        clean = without_keys(text, self._keys)[:MAX_DETAIL_CHARS]
        return ProviderFailure(
            code, f"{self.name} {what}{clean}", retryable=code in _RETRYABLE, retry_after_s=retry_after_s
        )


def _code(status: int, kind: str) -> str:
    if known := _CODES.get(kind) or _CODES.get(status):
        return known
    return "provider_bad_request" if 400 <= status < 500 and status not in _PASSING else "provider_unavailable"


def _detail(body: Any) -> tuple[str, str]:
    """Return type and message of an error's body, `{"error": {"type", "message"}}` or a part of that."""
    error = body.get("error", body) if isinstance(body, dict) else body
    if not isinstance(error, dict):
        return "", error if isinstance(error, str) and not error.lstrip().startswith("<") else ""
    kind, message = error.get("type") or error.get("code"), error.get("message")
    return kind if isinstance(kind, str) else "", message if isinstance(message, str) else ""


async def with_retries(
    run: Run, emitter: AnswerEmitter, request: Callable[[], Awaitable[Result]], retries: int
) -> Result:
    """Request an answer, and retry after temporary failures unless part of it was emitted.

    Raises the last ProviderFailure."""
    for tried in itertools.count():
        try:
            return await request()
        except ProviderFailure as failure:
            if emitter.has_emitted or tried == retries or not may_pass(failure):
                raise
            wait_s = next_wait_s(failure, tried)
            await run.status(f"{failure.message}. Try {tried + 2} of {retries + 1} follows in {wait_s:.1f} s")
        await asyncio.sleep(wait_s)
    raise AssertionError


def asked_to_wait_s(headers: Mapping[str, str]) -> float | None:
    """Parse `Retry-After`, a number of seconds or a date. Returns seconds, or None where it is missing or invalid."""
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit_s
        except ValueError:
            continue
        if not math.isnan(seconds):
            return max(seconds, 0.0)
    try:
        return max(parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - time.time(), 0.0)
    except (ValueError, OverflowError):
        return None


def may_pass(failure: ProviderFailure) -> bool:
    return failure.retryable and (failure.retry_after_s or 0) <= LONGEST_RETRY_AFTER_S


def next_wait_s(failure: ProviderFailure, tried: int) -> float:
    """Return the provider's demanded wait, else an exponential backoff; with jitter, so that clients do not retry
    together."""
    if failure.retry_after_s is not None:
        return failure.retry_after_s + random.uniform(0, 0.25)  # noqa: S311 - no secret
    backoff_s: float = min(FIRST_WAIT_S * 2**tried, LONGEST_WAIT_S)
    return backoff_s * random.uniform(0.75, 1)  # noqa: S311 - likewise
