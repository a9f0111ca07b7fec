"""A dialect with a state: it numbers the events that a viewer receives."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.gateway.dialects.dialect import Frames, State
from holdfast.gateway.dialects.sse import Sse
from holdfast.shared.entries import Entry


class Numbering(Sse):
    initial_state: State = 0

    def frames(self, state: State, entries: Sequence[Entry]) -> Frames:
        assert isinstance(state, int)
        last = state + len(entries)
        return b" ".join(b"%d" % number for number in range(state + 1, last + 1)), last
