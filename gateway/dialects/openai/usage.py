"""The tokens that a job used."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from holdfast.shared.ids import EventId


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of one event and those before it, as a linked list. Equal if it is that of the same event."""

    before: Usage | None = field(compare=False)
    id: EventId
    input_tokens: int = field(compare=False)
    output_tokens: int = field(compare=False)


def usage_before(usage: Usage | None, event_id: EventId) -> Usage | None:
    """Return the usage without that of an event and of all later ones."""
    while usage is not None and usage.id >= event_id:
        usage = usage.before
    return usage


def usage_from(usage: Usage | None, event_id: EventId) -> Usage | None:
    """Return the usage of an event and of all later ones."""
    later: list[Usage] = []
    while usage is not None and usage.id >= event_id:
        later.append(usage)
        usage = usage.before
    kept: Usage | None = None
    for one in reversed(later):
        kept = Usage(kept, one.id, one.input_tokens, one.output_tokens)
    return kept


def tokens_of(usage: Usage | None) -> tuple[int, int]:
    """Return the sums of the input and output tokens."""
    given = made = 0
    while usage is not None:
        given += usage.input_tokens
        made += usage.output_tokens
        usage = usage.before
    return given, made


def response_usage(usage: Usage | None) -> dict[str, Any]:
    """Return the `usage` of a response."""
    given, made = tokens_of(usage)
    return {
        "input_tokens": given,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": given + made,
    }


def completion_usage(usage: Usage | None) -> dict[str, Any]:
    """Return the `usage` of a chat completion."""
    given, made = tokens_of(usage)
    return {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}
