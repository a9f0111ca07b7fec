"""Batches of entries that are sent in one write, and their frames, which viewers in the same state share. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from holdfast.gateway.dialects.dialect import Dialect, Frames, State
from holdfast.shared.ids import EventId
from holdfast.shared.log.entries import Entry, bodies_of, kinds_of
from holdfast.shared.log.events import DELETED, TERMINAL

WRITE_BYTES = 64 * 1024

NO_JOB = ""  # a stream of this job has only the events that concern all jobs

_ENDS = TERMINAL | {DELETED}

_Key = tuple[Dialect, State, str | None]


class Batch:
    """Entries that follow `prev` without a hole, and their frames, which all viewers of a dialect in a state share."""

    __slots__ = ("_first", "_framed", "ending", "entries", "last", "prev", "size")

    def __init__(self, prev: EventId, entries: Sequence[Entry]) -> None:
        self.prev = prev
        self.entries = entries
        if len(entries) == 1:  # the common case of live delivery
            only = entries[0]
            self.last, self.size, self.ending = only.id, len(only.body), only.kind in _ENDS
        else:
            self.last, self.size = entries[-1].id, size_of(entries)
            self.ending = not _ENDS.isdisjoint(kinds_of(entries))
        self._first: tuple[_Key, Frames] | None = None
        self._framed: dict[_Key, Frames] = {}

    def after(self, cursor: EventId, dialect: Dialect, state: State, job_id: str | None) -> Frames | None:
        """Return the frames after the cursor, of one job or of all. None: the cursor is not in this chain of ids."""
        if cursor == self.prev:
            return self._shared((dialect, state, job_id))
        if cursor >= self.last:
            return b"", state
        for count, entry in enumerate(self.entries, 1):
            if entry.id == cursor:
                return self._frames(dialect, state, job_id, count)
        return None

    def ends(self, job_id: str | None) -> bool:
        """Return whether this batch ends a stream of this job, or of the session."""
        return self.ending and ends(self.entries, job_id)

    def _shared(self, key: _Key) -> Frames:
        """Return the frames of all entries. The first ones are found without a hash, which costs more than comparing:
        nearly every batch has one key."""
        if self._first is None:
            self._first = key, self._frames(*key, 0)
        if self._first[0] == key:
            return self._first[1]
        framed = self._framed.get(key)
        if framed is None:
            framed = self._framed[key] = self._frames(*key, 0)
        return framed

    def _frames(self, dialect: Dialect, state: State, job_id: str | None, start: int) -> Frames:
        entries = self.entries[start:] if start else self.entries
        if job_id is not None and not (len(entries) == 1 and entries[0].job_id == job_id):
            entries = [entry for entry in entries if concerns(entry, job_id)]
        return dialect.frames(state, entries)


def batches(prev: EventId, entries: Sequence[Entry]) -> Iterable[Batch]:
    """Split the entries (at least one) into batches of one write each, up to the session's end if they contain it."""
    whole = Batch(prev, entries)
    if whole.ending or whole.size > WRITE_BYTES:
        return _pieces(prev, until_deleted(entries))
    return (whole,)


def _pieces(prev: EventId, entries: Sequence[Entry]) -> Iterator[Batch]:
    while entries:
        count = fitting(entries)
        yield Batch(prev, entries[:count])
        prev, entries = entries[count - 1].id, entries[count:]


def fitting(entries: Sequence[Entry]) -> int:
    """Count the leading entries that fit in one write: WRITE_BYTES, but at least one entry."""
    if size_of(entries) <= WRITE_BYTES:
        return len(entries)
    size = 0
    for count, entry in enumerate(entries):
        size += len(entry.body)
        if size > WRITE_BYTES and count:
            return count
    return len(entries)


def size_of(entries: Sequence[Entry]) -> int:
    """Sum the bytes of the bodies."""
    return sum(map(len, bodies_of(entries)))


def concerns(entry: Entry, job_id: str) -> bool:
    """Return whether a job's stream includes this entry."""
    return entry.job_id == job_id or entry.kind == DELETED


def ends(entries: Sequence[Entry], job_id: str | None) -> bool:
    """Return whether one of these entries ends a stream of this job, or of the session when it is None."""
    if _ENDS.isdisjoint(kinds_of(entries)):
        return False
    return any(e.kind == DELETED or (e.kind in TERMINAL and e.job_id == job_id) for e in entries)


def until_deleted(entries: Sequence[Entry]) -> Sequence[Entry]:
    """Cut the entries after `session.deleted`: later ones belong to a new session with the same id."""
    if DELETED not in kinds_of(entries):
        return entries
    return entries[: next(count for count, entry in enumerate(entries, 1) if entry.kind == DELETED)]
