"""A dialect with a state: it numbers the events that a viewer receives."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.gateway.dialects.dialect import Frames, State
from holdfast.gateway.dialects.sse import Sse
from holdfast.shared.log.entries import Entry


class Numbering(Sse):
    """Server-Sent Events whose `data` is the number of events before this one; the event itself is a comment."""

    initial_state: State = 0

    def frames(self, state: State, entries: Sequence[Entry]) -> Frames:
        assert isinstance(state, int)
        frames = [
            b": %b\nid: %d-%d\ndata: %d\n\n" % (entry.body, *entry.id, state + before)
            for before, entry in enumerate(entries)
        ]
        return b"".join(frames), state + len(entries)
