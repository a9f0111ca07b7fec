"""The title of a session: the beginning of its first input. Pure."""

from __future__ import annotations

from typing import Any

MAX_CHARACTERS = 80
_LOOKED_AT = 1000  # characters, before whitespace is collapsed


def title_of(given: Any, encoded: bytes) -> str:
    """Return a title of at most MAX_CHARACTERS: the text, the first user message, or else the JSON of the input.

    Args:
        encoded: the same input as JSON.
    """
    words = " ".join(_text(given, encoded)[:_LOOKED_AT].split())
    return words if len(words) <= MAX_CHARACTERS else words[: MAX_CHARACTERS - 1].rstrip() + "…"


def _text(given: Any, encoded: bytes) -> str:
    if isinstance(given, str):
        return given
    messages = given.get("messages") if isinstance(given, dict) else None
    for message in messages if isinstance(messages, list) else []:
        if isinstance(message, dict) and message.get("role") == "user":
            return _content(message.get("content"))
    return encoded[: 4 * _LOOKED_AT].decode(errors="ignore")  # UTF-8: up to 4 bytes per character


def _content(content: Any) -> str:
    """Return the text of a message's content: a string, or a list of parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return " ".join(part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str))
