"""Deltas: which of them continue each other, so that a gateway may send them as one event. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson
from holdfast.shared.entries import Entry
from holdfast.shared.events import DELTAS


class Delta(NamedTuple):
    """A delta that has its plain fields and no other, so that nothing gets lost when it is merged. `text` is what
    stands between the quotes of its text, `rest` the other fields."""

    name: str
    text: bytes
    rest: dict[str, Any]

    def continues(self, other: Delta) -> bool:
        """Whether they have everything but their texts in common."""
        return self.name == other.name and self.rest == other.rest


def delta_of(entry: Entry) -> Delta | None:
    """The entry as a delta that may be merged. One with a further field, such as `checkpoint`, stands alone."""
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
