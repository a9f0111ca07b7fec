"""Events: what an entry of the log holds, encoded once, just as the wire sends it. docs/protocol.md has the table."""

from __future__ import annotations

import re
from typing import Any

import orjson
from holdfast.shared.errors import EventInvalid

MAX_EVENT_BYTES = 256 * 1024

STARTED = "job.started"
COMPLETED = "job.completed"
FAILED = "job.failed"
CANCELLED = "job.cancelled"
ASKED = "question.asked"
DELETED = "session.deleted"
TERMINAL = frozenset({COMPLETED, FAILED, CANCELLED})

# Each delta's text field, and the field that says which run of deltas it belongs to.
DELTAS = {
    "text.delta": ("text", "part"),
    "reasoning.delta": ("text", "part"),
    "tool.arguments.delta": ("delta", "call_id"),
}

# What reading an event raises that is no JSON or lacks what its kind demands: something other than a worker wrote it.
MALFORMED = (KeyError, TypeError, AttributeError, ValueError)

_KIND = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*")
_RESERVED = ("job.", "session.", "gap")


def encode(value: Any) -> bytes:
    """Compact UTF-8 JSON. Raises EventInvalid for what JSON cannot say: a lone surrogate, an object, a huge integer."""
    try:
        return orjson.dumps(value)
    except (TypeError, ValueError) as error:
        raise EventInvalid(f"not JSON: {error}") from None


def encode_event(event: dict[str, Any]) -> bytes:
    """Encode one event of an agent. Raises EventInvalid when its type is malformed or reserved, its agent no text, or
    it is too large."""
    kind = event.get("type")
    if not isinstance(kind, str) or len(kind) > 64 or _KIND.fullmatch(kind) is None:
        raise EventInvalid("type: lower-case words joined by dots, at most 64 characters")
    if kind.startswith(_RESERVED):
        raise EventInvalid(f"type: {kind} is Holdfast's own")
    if not isinstance(event.get("agent"), str | None):
        raise EventInvalid(f"{kind}: agent is the name of who speaks, a text")
    body = encode(event)
    if len(body) > MAX_EVENT_BYTES:
        raise EventInvalid(f"{kind} is {len(body)} bytes; at most {MAX_EVENT_BYTES} are allowed")
    return body
