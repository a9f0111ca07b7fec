"""The events of a job, as both of OpenAI's protocols read them."""

from __future__ import annotations

from typing import Any

import orjson
from holdfast.shared.log.entries import Entry
from holdfast.shared.log.events import ASKED, parse_event

ANSWERED = "question.answered"
_ASKING = (ASKED, ANSWERED)


def event_of(entry: Entry) -> dict[str, Any] | None:
    """Parse an entry of a job's log. None for a malformed one, which no worker wrote."""
    event = parse_event(entry.kind, entry.body)
    if event is None or (entry.kind in _ASKING and not isinstance(event.get("question_id"), str)):
        return None
    return event


def text_of_result(result: Any) -> str:
    """Return the text that the result of a job without a text is: its `text`, or the whole as JSON."""
    if result is None or isinstance(result, str):
        return result or ""
    text = result.get("text") if isinstance(result, dict) else None
    return text if isinstance(text, str) else orjson.dumps(result).decode()
