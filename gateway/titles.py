"""The title of a session: the beginning of what it was first asked. Pure."""

from __future__ import annotations

from typing import Any

MAX_CHARACTERS = 80
_LOOKED_AT = 1000  # of a long text, before its whitespace is collapsed


def title_of(given: Any, encoded: bytes) -> str:
    """A line of at most 80 characters: the text, the first message of a user, or else the input as JSON, which it also
    comes `encoded` as."""
    words = " ".join(_text(given, encoded)[:_LOOKED_AT].split())
    return words if len(words) <= MAX_CHARACTERS else words[: MAX_CHARACTERS - 1].rstrip() + "…"


def _text(given: Any, encoded: bytes) -> str:
    if isinstance(given, str):
        return given
    messages = given.get("messages") if isinstance(given, dict) else None
    for message in messages if isinstance(messages, list) else []:
        if isinstance(message, dict) and message.get("role") == "user":
            return _content(message.get("content"))
    return encoded[: 4 * _LOOKED_AT].decode(errors="ignore")  # a character has up to 4 bytes


def _content(content: Any) -> str:
    """A message's text, of which a list has parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return " ".join(part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str))
