"""Decide which deltas may be merged into one event. Free of I/O."""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson
from holdfast.shared.log.entries import Entry
from holdfast.shared.log.events import DELTAS


class Delta(NamedTuple):
    """A delta with known fields only, so that merging loses nothing. `text`: its text in JSON encoding, without quotes.
    `rest`: its other fields."""

    name: str
    text: bytes
    rest: dict[str, Any]

    def continues(self, other: Delta) -> bool:
        """Return whether the two are equal but for their texts."""
        return self.name == other.name and self.rest == other.rest


def delta_of(entry: Entry) -> Delta | None:
    """Return the entry as a mergeable delta. None for other kinds, or with a further field such as `checkpoint`."""
    fields = DELTAS.get(entry.kind)
    if fields is None:
        return None
    name, run = fields
    try:
        rest = orjson.loads(entry.body)
    except orjson.JSONDecodeError:
        return None
    text = rest.pop(name, None) if isinstance(rest, dict) else None
    if not isinstance(text, str) or not rest.keys() <= {"type", "job_id", "agent", run}:
        return None
    return Delta(name, orjson.dumps(text)[1:-1], rest)
