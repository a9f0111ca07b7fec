"""Encode events once, in the form in which they are stored and sent. docs/protocol.md lists their types."""

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

# The text field of each delta, and the field that identifies its run of deltas.
DELTAS = {
    "text.delta": ("text", "part"),
    "reasoning.delta": ("text", "part"),
    "tool.arguments.delta": ("delta", "call_id"),
}

# The exceptions that reading a malformed event raises, which no worker wrote.
MALFORMED = (KeyError, TypeError, AttributeError, ValueError)

_KIND = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*")
_RESERVED = ("job.", "session.", "gap")


def encode(value: Any) -> bytes:
    """Encode as compact UTF-8 JSON. Raises EventInvalid for values outside JSON: a lone surrogate, an object, a huge
    integer."""
    try:
        return orjson.dumps(value)
    except (TypeError, ValueError) as error:
        raise EventInvalid(f"not JSON: {error}") from None


def encode_event(event: dict[str, Any]) -> bytes:
    """Encode one event of an agent.

    Raises EventInvalid when its type is malformed or reserved, its `agent` is no string, or it is too large."""
    kind = event.get("type")
    if not isinstance(kind, str) or len(kind) > 64 or _KIND.fullmatch(kind) is None:
        raise EventInvalid("type: lower-case words joined by dots, at most 64 characters")
    if kind.startswith(_RESERVED):
        raise EventInvalid(f"type: {kind} is reserved for Holdfast")
    if not isinstance(event.get("agent"), str | None):
        raise EventInvalid(f"{kind}: agent must be a string, the name of the agent that emits")
    body = encode(event)
    if len(body) > MAX_EVENT_BYTES:
        raise EventInvalid(f"{kind} is {len(body)} bytes; at most {MAX_EVENT_BYTES} are allowed")
    return body
