"""A translation as small as they come: it counts a job's texts, and knows takeovers, ends and losses."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import orjson
from holdfast.gateway.dialects.dialect import CUT, END
from holdfast.gateway.dialects.translation import Event, Place, Translated, Translation
from holdfast.shared.log.entries import Entry


class Counting(Translation):
    """Each event is a line `<number> <words>`. The cursor is the count of received events. A takeover is a cut.
    The text "enough" is the last one that it sends."""

    initial = 0

    @property
    def opening(self) -> Sequence[Event]:
        return ("hello",)

    def translate(self, state: Hashable, entry: Entry) -> Translated:
        assert isinstance(state, int)
        event = orjson.loads(entry.body)
        if entry.kind == "text.delta":
            after = END if event["text"] == "enough" else state + 1
            return (f"{event['text']} after {state}", "comma"), after
        if "discard_from" in event:
            return (), CUT
        return (entry.kind,), state

    def lost(self, state: Hashable) -> Sequence[Event]:
        return (f"lost after {state}",)

    def frame(self, event: Event, place: Place) -> bytes:
        return f"{place.number} {event}\n".encode()

    def received(self, event: Event, place: Place, cursor: Hashable) -> bool:
        assert isinstance(cursor, int)
        return place.number < cursor
