"""Data of an agent for which the AI SDK has special parts: sources and files."""

from __future__ import annotations

from typing import Any

# The fields that the SDK requires of each, and those that it allows besides. All are texts.
_PARTS = {
    "source-url": (("url",), ("title",)),
    "source-document": (("mediaType", "title"), ("filename",)),
    "file": (("mediaType", "url"), ()),
}


def source_chunk(event_id: str, name: str, value: Any) -> dict[str, Any] | None:
    """Return the chunk of a `data` event with this name and value; None if it is not a source or a file."""
    if name not in _PARTS or not isinstance(value, dict):
        return None
    required, optional = _PARTS[name]
    if not all(isinstance(value.get(field), str) for field in required):
        return None
    chunk = {field: value[field] for field in (*required, *optional) if isinstance(value.get(field), str)}
    if name == "file":
        return {"type": name, **chunk}
    return {"type": name, "sourceId": str(value.get("sourceId") or event_id), **chunk}
