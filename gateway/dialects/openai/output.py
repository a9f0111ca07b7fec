"""The output of a response while it grows. Values that are never changed, so that viewers can share them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from holdfast.gateway.dialects.openai.items import Item
from holdfast.gateway.dialects.openai.usage import Usage, usage_before
from holdfast.shared.ids import ORIGIN, EventId

Status = Literal["queued", "in_progress", "completed", "failed", "incomplete", "cancelled"]
DELTA_BYTES = 16  # a lower limit of what a delta costs besides its text, so that empty ones are limited too

Place = tuple[str, str | None]
"""Where events of an item are recognised: ("message", agent), ("reasoning", agent) or ("mcp_call", call_id)."""


class Done(NamedTuple):
    """A finished item and those before it, as a linked list."""

    before: Done | None
    place: Place
    item: Item


@dataclass(slots=True, eq=False)  # not frozen: one is made for each delta, and that would double its cost
class Output:
    """What the events of a job up to `at` have become. Never changed.

    Two outputs are equal if they are at the same event of the same log: they are made from the same events.

    Args:
        status: of the response.
        count: the items that were ever begun, and so the index of the next one.
        open: the items that are not finished.
        done: the finished items that count.
        ending: the terminal event.
        asked: the call id of the newest question.
        size: what its items take as JSON, and `DELTA_BYTES` for each delta.
    """

    at: EventId = ORIGIN
    status: Status = "queued"
    count: int = 0
    open: Mapping[Place, Item] = field(default_factory=dict)
    done: Done | None = None
    usage: Usage | None = None
    ending: Mapping[str, Any] | None = None
    asked: str | None = None
    size: int = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Output) and self.at == other.at

    def __hash__(self) -> int:
        return hash(self.at)

    @property
    def ended(self) -> bool:
        return self.status not in ("queued", "in_progress")

    def items(self) -> list[Item]:
        """Return the items that count, in the order of their indexes."""
        return sorted([*self.open.values(), *(done.item for done in self._finished())], key=lambda item: item.index)

    def text(self, kind: Literal["message", "reasoning"]) -> str:
        """Return the text of all items of a kind."""
        return "".join(item.text for item in self.items() if item.kind == kind)

    def with_open(self, place: Place, item: Item, at: EventId | None = None, size: int = 0) -> Output:
        """Return the output with an item that was begun, or that the event `at` has grown by `size` bytes."""
        open_, count = {**self.open, place: item}, max(self.count, item.index + 1)
        at, size = at or self.at, self.size + size
        return Output(at, self.status, count, open_, self.done, self.usage, self.ending, self.asked, size)

    def with_done(self, place: Place, item: Item) -> Output:
        """Return the output with an item that is finished now."""
        others = {other: open_ for other, open_ in self.open.items() if other != place}
        count = max(self.count, item.index + 1)
        return replace(self, open=others, done=Done(self.done, place, item), count=count)

    def finished_after(self, event_id: EventId) -> list[Done]:
        """Return the finished items with events from this one on, oldest first."""
        return [done for done in self._finished() if done.item.last >= event_id][::-1]

    def without(self, event_id: EventId, items: Iterable[Item]) -> Output:
        """Return the output without these items and without usage from this event on."""
        left = {item.index for item in items}
        kept: Done | None = None
        for done in [done for done in self._finished() if done.item.index not in left][::-1]:
            kept = Done(kept, done.place, done.item)
        still_open = {place: item for place, item in self.open.items() if item.index not in left}
        return replace(self, open=still_open, done=kept, usage=usage_before(self.usage, event_id))

    def _finished(self) -> Iterator[Done]:
        done = self.done
        while done is not None:
            yield done
            done = done.before
