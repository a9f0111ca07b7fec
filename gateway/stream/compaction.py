"""Catching up in fewer events: adjacent deltas become one, and what a later attempt discarded is left out. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import orjson

from shared.event_log import Entry
from shared.events import DELTAS, STARTED
from shared.ids import EventId, parse_id

MERGED_BYTES = 64 * 1024
_FROM_BYTES = 64  # `,"from":"<id>"`, which no delta has


class Compactor:
    """Merges runs of deltas. A run that is open at the end of a page goes on with the next one."""

    def __init__(self) -> None:
        self._run: _Run | None = None

    def feed(self, entries: Iterable[Entry]) -> list[Entry]:
        """The events that are complete with these entries, oldest first."""
        done: list[Entry] = []
        for entry in entries:
            delta = _delta_of(entry)
            if self._run is not None and delta is not None and self._run.takes(delta):
                self._run.add(delta)
            else:
                done += self.flush()
                if delta is None:
                    done.append(entry)
                else:
                    self._run = _Run(delta)
        return done

    def flush(self) -> list[Entry]:
        """The open run, if there is one, as an event with the id of its last delta."""
        run, self._run = self._run, None
        return [] if run is None else [run.merged()]


class Discards:
    """Which events a later attempt of their job discarded: those from the job's first to its latest start."""

    def __init__(self) -> None:
        self._ranges: dict[str, tuple[EventId, EventId]] = {}

    def add(self, job_id: str, first: EventId, started: EventId) -> None:
        """Note that the attempt that began with `started` discarded its job's events from `first` on."""
        known = self._ranges.get(job_id)
        if first < started and (known is None or known[1] < started):
            self._ranges[job_id] = (first, started)

    def learn(self, entries: Iterable[Entry]) -> None:
        """Note what the starts among these entries say about the events before them."""
        for entry in entries:
            if entry.kind == STARTED and b'"discard_from"' in entry.body:
                discard_from = orjson.loads(entry.body).get("discard_from")
                if isinstance(discard_from, str):
                    self.add(entry.job_id, parse_id(discard_from), entry.id)

    def kept(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """The entries that count."""
        if not self._ranges:
            return entries
        return [entry for entry in entries if not self._discarded(entry)]

    def _discarded(self, entry: Entry) -> bool:
        found = self._ranges.get(entry.job_id)
        return found is not None and found[0] <= entry.id < found[1]


class _Delta(NamedTuple):
    """A delta that has its plain fields and no other, so that nothing gets lost when it is merged."""

    entry: Entry
    name: str
    text: str
    rest: dict[str, Any]


def _delta_of(entry: Entry) -> _Delta | None:
    fields = DELTAS.get(entry.kind)
    if fields is None:
        return None
    name, run = fields
    try:
        rest = orjson.loads(entry.body)
    except orjson.JSONDecodeError:
        return None
    text = rest.pop(name, None)
    if not isinstance(text, str) or not rest.keys() <= {"type", "job_id", "agent", run}:
        return None
    return _Delta(entry, name, text, rest)


class _Run:
    def __init__(self, first: _Delta) -> None:
        self._deltas = [first]
        self._size = len(first.entry.body) + _FROM_BYTES

    def takes(self, delta: _Delta) -> bool:
        fits = self._size + len(delta.entry.body) <= MERGED_BYTES
        return fits and delta.name == self._deltas[0].name and delta.rest == self._deltas[0].rest

    def add(self, delta: _Delta) -> None:
        self._deltas.append(delta)
        self._size += len(delta.entry.body)

    def merged(self) -> Entry:
        first, last = self._deltas[0], self._deltas[-1]
        if first is last:
            return first.entry
        text = "".join(delta.text for delta in self._deltas)
        body = orjson.dumps({**first.rest, first.name: text, "from": str(first.entry.id)})
        return Entry(last.entry.id, last.entry.kind, last.entry.job_id, body, None)
