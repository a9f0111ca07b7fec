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
_ENCODED_DEPTH = 254  # of arrays and objects, above which orjson parses JSON but does not encode it

# What reading an entry raises that is no JSON or lacks what its kind demands: something other than a worker wrote it.
MALFORMED = (KeyError, TypeError, AttributeError, ValueError)

_KIND = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*")
_RESERVED = ("job.", "session.", "gap")


def encode(value: Any) -> bytes:
    """Compact UTF-8 JSON. Raises EventInvalid for what JSON cannot say: a lone surrogate, an object, a huge integer."""
    try:
        return orjson.dumps(value)
    except (TypeError, ValueError) as error:
        raise EventInvalid(f"not JSON: {error}") from None


def missing_field(kind: str, event: dict[str, Any]) -> str | None:
    """The first field that an event of this kind needs and lacks, with its type where only one is allowed."""
    for name, wanted in _REQUIRED.get(kind, {}).items():
        value = event.get(name)
        if name not in event or not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
            return name if wanted is object else f"{name} ({wanted.__name__})"
    return None


def parse_event(kind: str, body: bytes) -> dict[str, Any] | None:
    """Parse an event of an agent. Returns None for one that no worker can have written: its body is no JSON object,
    lacks what its kind demands, or is nested too deeply to be encoded."""
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
