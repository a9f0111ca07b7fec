"""Track the events that later starts of a job discarded. Free of I/O."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from contextlib import suppress
from operator import itemgetter
from typing import NamedTuple

import orjson
from holdfast.shared.ids import EventId, parse_id
from holdfast.shared.log.entries import Entry, kinds_of
from holdfast.shared.log.events import MALFORMED, STARTED


class Discard(NamedTuple):
    """A start with the id `started` discarded its job's events from `first` on."""

    job_id: str
    first: EventId
    started: EventId


class Discards:
    """The discarded events of several jobs.

    A start discards from an event that still counts, or from one that an earlier start named. So the ranges of a job
    are nested or disjoint, and never overlap partially."""

    def __init__(self) -> None:
        self._ranges: dict[str, list[tuple[EventId, EventId]]] = {}

    def __bool__(self) -> bool:
        return bool(self._ranges)

    def add(self, job_id: str, first: EventId, started: EventId) -> None:
        """Add the range that the start with the id `started` discarded: its job's events from `first` on."""
        ranges = self._ranges.get(job_id, [])
        if first >= started or any(begin <= first and started <= end for begin, end in ranges):
            return
        others = [(begin, end) for begin, end in ranges if not (first <= begin and end <= started)]
        self._ranges[job_id] = sorted([*others, (first, started)])

    def learn(self, entries: Sequence[Entry]) -> None:
        """Add the ranges that the starts among these entries discard."""
        if STARTED not in kinds_of(entries):
            return
        for entry in entries:
            if entry.kind == STARTED and b'"discard_from"' in entry.body:
                with suppress(*MALFORMED):  # an entry that no worker wrote
                    self.add(entry.job_id, parse_id(orjson.loads(entry.body)["discard_from"]), entry.id)

    def kept(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Return the entries that were not discarded."""
        if not self._ranges:
            return entries
        return [entry for entry in entries if not self.covers(entry.job_id, entry.id)]

    def covers(self, job_id: str, event_id: EventId) -> bool:
        """Return whether this event of the job was discarded."""
        ranges = self._ranges.get(job_id)
        if ranges is None:
            return False
        before = bisect_right(ranges, event_id, key=itemgetter(0))
        return before > 0 and event_id < ranges[before - 1][1]

    def parts(self, job_id: str, first: EventId, last: EventId) -> list[tuple[EventId, EventId]]:
        """Split the ids of an epoch from `first` to `last` into parts, each either discarded as a whole or not at
        all."""
        edges = {first}
        for begin, end in self._ranges.get(job_id, ()):
            edges |= {edge for edge in (begin, end) if first < edge <= last}
        begins = sorted(edges)
        ends = [EventId(begin.epoch, begin.seq - 1) for begin in begins[1:]]
        return list(zip(begins, [*ends, last], strict=True))


def ranges_of(text: str) -> list[tuple[EventId, EventId]]:
    """Parse the ranges in a job's record: `first until first until …`."""
    ids = [parse_id(part) for part in text.split()]
    return list(zip(ids[::2], ids[1::2], strict=True))
