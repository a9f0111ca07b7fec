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

# The fields that readers of the log rely on, by type. Other types may have any fields.
_REQUIRED: dict[str, dict[str, type]] = {
    "status": {"message": str},
    "text.delta": {"text": str, "part": int},
    "reasoning.delta": {"text": str, "part": int},
    "tool.started": {"call_id": str, "name": str},
    "tool.arguments.delta": {"call_id": str, "delta": str},
    "tool.called": {"call_id": str, "name": str, "arguments": object},
    "tool.result": {"call_id": str, "result": object},
    "tool.failed": {"call_id": str, "error": object},
    "section.started": {"title": str, "index": int},
    "section.ended": {"title": str, "index": int},
    "data": {"name": str, "value": object},
    "fallback": {"reason": str, "to": str},
    "usage": {"input_tokens": int, "output_tokens": int, "model": str},
}
_ENCODED_DEPTH = 254  # levels of arrays and objects that orjson encodes; it parses more

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


def missing_field(kind: str, event: dict[str, Any]) -> str | None:
    """Return the first required field that is missing or has a wrong type, with the required type if there is one."""
    for name, wanted in _REQUIRED.get(kind, {}).items():
        value = event.get(name)
        if type(value) is wanted:  # nearly always
            continue
        if name not in event or not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
            return name if wanted is object else f"{name} ({wanted.__name__})"
    return None


def parse_event(kind: str, body: bytes) -> dict[str, Any] | None:
    """Parse an event of an agent.

    Returns None for a malformed event, which a worker cannot have written: its body is not a JSON object, lacks a
    required field, or is nested too deeply to be encoded."""
    try:
        event = orjson.loads(body)
        if body.count(b"[") + body.count(b"{") > _ENCODED_DEPTH:
            orjson.dumps(event)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return None
    if not isinstance(event, dict) or not isinstance(event.get("agent"), str | None):
        return None
    return event if missing_field(kind, event) is None else None


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
