"""Number the sections and tool calls of a job."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import orjson

SECTION = "section.started"
TOOL = "tool.started"

# The events that start a numbered item: the field with its name, and the field with its number.
NUMBERED = {SECTION: ("title", "index"), TOOL: ("name", "call_id")}

_FORMS: dict[str, Callable[[int], Any]] = {SECTION: int, TOOL: "call-{}".format}


class Numbers:
    """Assigns each section and tool call the lowest free number."""

    def __init__(self) -> None:
        self._taken: defaultdict[str, set[Any]] = defaultdict(set)
        self._next: defaultdict[str, int] = defaultdict(int)

    def take(self, kind: str) -> Any:
        """Assign a number to the item that an event of this kind starts."""
        number = self.first(kind)
        self._taken[kind].add(number)
        return number

    def first(self, kind: str) -> Any:
        """Return the number that `take` would assign."""
        form, taken = _FORMS[kind], self._taken[kind]
        while form(self._next[kind]) in taken:
            self._next[kind] += 1
        return form(self._next[kind])

    def keep(self, kind: str, body: bytes) -> None:
        """Reserve the number of an event of an earlier attempt, if it has one."""
        if kind in NUMBERED:
            self._taken[kind].add(orjson.loads(body).get(NUMBERED[kind][1]))
