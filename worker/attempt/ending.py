"""How a job ends: its terminal event."""

from __future__ import annotations

import sysconfig
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.shared.errors import EventInvalid, HoldfastError
from holdfast.shared.log.events import CANCELLED, COMPLETED, FAILED, MAX_EVENT_BYTES, encode
from holdfast.shared.log.log_replies import Event
from holdfast.worker.process.redaction import without_keys
from holdfast.worker.sdk.run import AgentError

MAX_MESSAGE_CHARACTERS = 500
_FOREIGN = {Path(__file__).parents[1], *(Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib"))}


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


def failed(error: BaseException, place: str = "") -> Ending:
    """Return the ending of a job whose agent raised, at this place of its source. Messages of foreign exceptions are
    redacted: they may contain keys."""
    meant = isinstance(error, HoldfastError)
    text = ": ".join(part for part in ("" if meant else type(error).__name__, str(error)) if part)
    message = without_keys(text, opaque=not meant)
    return Ending(
        FAILED,
        {
            "error": {
                "code": _clean(error.code) if isinstance(error, HoldfastError) else AgentError.code,
                "message": _clean(message) + (_clean(f" ({place})") if place else ""),
                "retryable": isinstance(error, AgentError) and error.retryable is True,
            }
        },
    )


def place_of(error: BaseException) -> str:
    """Return file and line of the agent that raised, without its folder, as `my_agent.py:12`. Empty if it is unknown:
    the frames of Holdfast and of installed packages do not count."""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        path = Path(frame.f_code.co_filename)
        if not any(path.is_relative_to(folder) for folder in _FOREIGN):
            return f"{path.name}:{line}"
    return ""


def cancelled(by: str) -> Ending:
    return Ending(CANCELLED, {"by": by})


def timed_out(timeout_s: float) -> Ending:
    return failed(AgentError("timeout", f"The job did not end within {timeout_s:g} s", retryable=True))


def _clean(text: str) -> str:
    """Truncate the text and replace what UTF-8 cannot encode."""
    return str(text)[:MAX_MESSAGE_CHARACTERS].encode("utf-8", "replace").decode()
