"""How a job ends: its terminal event."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from holdfast.shared.errors import EventInvalid, HoldfastError
from holdfast.shared.log.events import CANCELLED, COMPLETED, FAILED, MAX_EVENT_BYTES, encode
from holdfast.shared.log.log_replies import Event
from holdfast.worker.process.redaction import without_keys
from holdfast.worker.sdk.run import AgentError

MAX_MESSAGE_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Ending:
    """How a job ends: the type of its terminal event, and that event's fields."""

    kind: str
    fields: dict[str, Any]

    def event(self, job_id: str) -> Event:
        body = {"type": self.kind, "job_id": job_id, "at": time.time_ns() // 1_000_000, **self.fields}
        return Event(self.kind, job_id, encode(body))


def completed(result: Any) -> Ending:
    """Return the ending of a job whose agent returned. A result that is not JSON, or too large, fails the job."""
    try:
        size = len(encode(result))
    except EventInvalid as error:
        return failed(AgentError("result_invalid", f"The agent's result is {error}"))
    if size > MAX_EVENT_BYTES:
        return failed(AgentError("result_invalid", f"The agent's result is {size} bytes of at most {MAX_EVENT_BYTES}"))
    return Ending(COMPLETED, {"result": result})


def failed(error: BaseException) -> Ending:
    """Return the ending of a job whose agent raised. Messages of foreign exceptions are redacted: they may contain
    keys."""
    meant = isinstance(error, HoldfastError)
    text = ": ".join(part for part in ("" if meant else type(error).__name__, str(error)) if part)
    message = without_keys(text, opaque=not meant)
    return Ending(
        FAILED,
        {
            "error": {
                "code": _clean(error.code) if isinstance(error, HoldfastError) else AgentError.code,
                "message": _clean(message),
                "retryable": isinstance(error, AgentError) and error.retryable is True,
            }
        },
    )


def cancelled(by: str) -> Ending:
    return Ending(CANCELLED, {"by": by})


def timed_out(timeout_s: float) -> Ending:
    return failed(AgentError("timeout", f"The job did not end within {timeout_s:g} s", retryable=True))


def _clean(text: str) -> str:
    """Truncate the text and replace what UTF-8 cannot encode."""
    return str(text)[:MAX_MESSAGE_CHARACTERS].encode("utf-8", "replace").decode()
