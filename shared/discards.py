"""Which events of a job do not count any more: those that a later start of the job discarded. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import orjson
from holdfast.shared.entries import Entry, kinds_of
from holdfast.shared.events import MALFORMED, STARTED
from holdfast.shared.ids import EventId, parse_id


class Discard(NamedTuple):
    """A start with the id `started` discarded its job's events from `first` on."""

    job_id: str
    first: EventId
    started: EventId


class Discards:
    """The discarded events of several jobs. Each start discards from an event that still counts, or from one that an
    earlier start named, so that the ranges of a job never overlap in part."""

    def __init__(self) -> None:
        self._ranges: dict[str, list[tuple[EventId, EventId]]] = {}

    def __bool__(self) -> bool:
        return bool(self._ranges)

    def add(self, job_id: str, first: EventId, started: EventId) -> None:
        """Note that the start with the id `started` discarded its job's events from `first` on."""
        ranges = self._ranges.get(job_id, [])
        if first >= started or any(begin <= first and started <= end for begin, end in ranges):
            return
        others = [(begin, end) for begin, end in ranges if not (first <= begin and end <= started)]
        self._ranges[job_id] = sorted([*others, (first, started)])

    def learn(self, entries: Sequence[Entry]) -> None:
        """Note what the starts among these entries say about the events before them."""
        if STARTED not in kinds_of(entries):
            return
        for entry in entries:
            if entry.kind == STARTED and b'"discard_from"' in entry.body:
                with suppress(*MALFORMED):  # of an entry that a worker did not write
                    self.add(entry.job_id, parse_id(orjson.loads(entry.body)["discard_from"]), entry.id)

    def kept(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """The entries that count."""
        if not self._ranges:
            return entries
        return [entry for entry in entries if not self.covers(entry.job_id, entry.id)]

    def covers(self, job_id: str, event_id: EventId) -> bool:
        """Whether this event of the job was discarded."""
        ranges = self._ranges.get(job_id)
        if ranges is None:
            return False
        before = bisect_right(ranges, event_id, key=_begin)
        return before > 0 and event_id < ranges[before - 1][1]

    def parts(self, job_id: str, first: EventId, last: EventId) -> list[tuple[EventId, EventId]]:
        """The ids of an epoch from `first` to `last`, in parts that were discarded or not as a whole."""
        edges = {first}
        for begin, end in self._ranges.get(job_id, ()):
            edges |= {edge for edge in (begin, end) if first < edge <= last}
        begins = sorted(edges)
        ends = [EventId(begin.epoch, begin.seq - 1) for begin in begins[1:]]
        return list(zip(begins, [*ends, last], strict=True))


def _begin(found: tuple[EventId, EventId]) -> EventId:
    return found[0]


def ranges_of(text: str) -> list[tuple[EventId, EventId]]:
    """The ranges that a job's record lists: `first until first until …`."""
    ids = [parse_id(part) for part in text.split()]
    return list(zip(ids[::2], ids[1::2], strict=True))
