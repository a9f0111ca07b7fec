"""The events of the Responses API for changes of an output."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
from holdfast.gateway.dialects.openai.items import Item, ItemStatus, Json, Kind
from holdfast.gateway.dialects.openai.output import Output, Place
from holdfast.shared.ids import EventId

_DELTAS: dict[Kind, str] = {
    "message": "response.output_text",
    "reasoning": "response.reasoning_summary_text",
    "mcp_call": "response.mcp_call_arguments",
    "function_call": "response.function_call_arguments",
}
_PARTS: dict[Kind, tuple[str, str]] = {
    "message": ("response.content_part", "content_index"),
    "reasoning": ("response.reasoning_summary_part", "summary_index"),
}
_DELTA_EVENTS = {kind: f"{name}.delta" for kind, name in _DELTAS.items()}


class Changes:
    """Applies one event of a log to an output, and collects the events of the Responses API for it.

    Every item is announced, grows, and is finished; an index is used once. The order of the events is that of the
    reference at https://platform.openai.com/docs/api-reference/responses-streaming.

    Args:
        job: the id of the response without its prefix.
        size: of the event, in bytes.
    """

    def __init__(self, output: Output, job: str, event_id: EventId, size: int = 0) -> None:
        self.output = replace(output, at=event_id, size=output.size + size)
        self.events: list[Json] = []
        self._job = job
        self._id = event_id

    def begin(self, place: Place, kind: Kind, fields: Json | None = None) -> Item:
        """Announce an item."""
        return self._announce(place, Item.begin(self._job, kind, self.output.count, self._id, fields))

    def begin_again(self, place: Place, before: Item) -> None:
        """Announce a tool call again, as a new item with the arguments of another one."""
        again = Item.begin(self._job, before.kind, self.output.count, before.begun, before.fields)
        item = self._announce(place, replace(again, last=before.last))
        text = before.text
        if text:
            item = replace(item, pieces=before.pieces, last=before.last)
            self.output = self.output.with_open(place, item)
            self.events.append(delta(item, text))

    def grow(self, place: Place, text: str) -> None:
        """Add a delta to an open item."""
        item = self.output.open[place].with_piece(self._id, text)
        self.output = self.output.with_open(place, item)
        self.events.append(delta(item, text))

    def arguments_done(self, place: Place) -> None:
        """Emit the complete arguments of an open call."""
        item = self.output.open[place]
        name = {"name": (item.fields or {})["name"]} if item.kind == "function_call" else {}
        self._emit(f"{_DELTAS[item.kind]}.done", item, arguments=item.text, **name)

    def finish(self, place: Place, status: ItemStatus, fields: Json | None = None) -> None:
        """Finish an open item. `fields` are added to those of its JSON."""
        item = self.output.open[place]
        item = replace(item, status=status, last=self._id, fields={**(item.fields or {}), **(fields or {})})
        self.output = self.output.with_done(place, item)
        self._emit_end(item)

    def retract(self, event_id: EventId) -> None:
        """Discard everything from this event of the log on.

        What was sent cannot be changed. So the items that it concerns are finished and left out of the final output, or
        are in it without what was discarded; tool calls that run again are new items."""
        running = [(place, item) for place, item in self.output.open.items() if item.last >= event_id]
        discarded = [(done.place, done.item) for done in self.output.finished_after(event_id)] + running
        for _, item in running:
            self._emit_end(replace(item, status="incomplete"))
        self.output = self.output.without(event_id, [item for _, item in discarded])
        for place, item in discarded:
            if item.begun < event_id:
                self._restore(place, item.before(event_id))
        size = sum(len(orjson.dumps(item.json())) for item in self.output.items())
        self.output = replace(self.output, size=size)

    def end(self, *, completed: bool) -> None:
        """Finish all open items."""
        for place, item in sorted(self.output.open.items(), key=lambda one: one[1].index):
            done = completed and item.kind in _PARTS
            self.finish(place, "completed" if done else "incomplete")

    def _restore(self, place: Place, item: Item) -> None:
        if item.kind == "mcp_call":
            self.begin_again(place, replace(item, fields={**(item.fields or {}), "output": None, "error": None}))
        else:
            self.output = self.output.with_done(place, replace(item, status="completed"))

    def _announce(self, place: Place, item: Item) -> Item:
        self.output = self.output.with_open(place, item)
        opening = {"type": "response.output_item.added", "output_index": item.index, "item": item.opening()}
        self.events.append(opening)
        if item.kind in _PARTS:
            name, index = _PARTS[item.kind]
            self._emit(f"{name}.added", item, **{index: 0, "part": item.part("")})
        if item.kind == "mcp_call":
            self._emit("response.mcp_call.in_progress", item)
        return item

    def _emit_end(self, item: Item) -> None:
        if item.kind in _PARTS:
            (name, index), text = _PARTS[item.kind], item.text
            logprobs: Json = {"logprobs": []} if item.kind == "message" else {}
            self._emit(f"{_DELTAS[item.kind]}.done", item, **{index: 0, "text": text}, **logprobs)
            self._emit(f"{name}.done", item, **{index: 0, "part": item.part(text)})
        if item.kind == "mcp_call":
            self._emit(f"response.mcp_call.{'completed' if item.status == 'completed' else 'failed'}", item)
        self.events.append({"type": "response.output_item.done", "output_index": item.index, "item": item.json()})

    def _emit(self, kind: str, item: Item, **fields: Any) -> None:
        self.events.append({"type": kind, "item_id": item.id, "output_index": item.index, **fields})


def delta(item: Item, text: str) -> Json:
    """Return the event that adds a text to an item."""
    event: Json = {
        "type": _DELTA_EVENTS[item.kind],
        "item_id": item.id,
        "output_index": item.index,
        "delta": text,
    }
    if item.kind == "message":
        event["content_index"], event["logprobs"] = 0, []
    elif item.kind == "reasoning":
        event["summary_index"] = 0
    return event
