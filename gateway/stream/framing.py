"""The stream formats: events as the bytes that viewers receive. Pure: entries in, bytes out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Protocol

import orjson
from holdfast.shared.entries import Entry, EntryColumns, bodies_of, kinds_of
from holdfast.shared.event_log import Gap
from holdfast.shared.events import DELETED, TERMINAL
from holdfast.shared.ids import EventId, as_cursor

WRITE_BYTES = 64 * 1024

_LF, _CR = b"\n\r"  # integers: `in` is twice as fast as with bytes
NO_JOB = ""  # a stream of this job has only the events that concern all jobs

_ENDS = TERMINAL | {DELETED}


class Format(Protocol):
    """A format of event streams. Each method returns whole frames."""

    @property
    def media_type(self) -> str: ...

    @property
    def opening(self) -> bytes:
        """The first bytes of every stream."""

    @property
    def ping(self) -> bytes: ...

    def ping_event(self, cursor: EventId) -> bytes:
        """A ping that a browser's EventSource reports as a message. Everything up to the cursor has been sent."""

    def event(self, entry: Entry) -> bytes: ...

    def events(self, entries: Sequence[Entry]) -> bytes:
        """The frames of these entries."""

    def gap(self, gap: Gap) -> bytes:
        """Announce missing events. A trimmed gap has no id of its own: the next event has one."""

    def queued(self, job_id: str, position: int) -> bytes: ...

    def cursor_only(self, cursor: EventId) -> bytes:
        """Move the client's cursor without an event."""

    def closing(self, retry_ms: int) -> bytes:
        """The last bytes of a stream that the gateway ends early: reconnect after `retry_ms`."""


class _Sse:
    media_type = "text/event-stream; charset=utf-8"
    opening = b"retry: 1000\n\n"
    ping = b": ping\n\n"

    def event(self, entry: Entry) -> bytes:
        epoch, seq = entry.id
        return b"id: %d-%d\ndata: %b\n\n" % (epoch, seq, _one_line(entry.body))

    def events(self, entries: Sequence[Entry]) -> bytes:
        if len(entries) == 1:
            return self.event(entries[0])
        if type(entries) is EntryColumns:
            pairs = zip(entries.raw_ids, entries.bodies, strict=True)
            frames = b"".join([b"id: %b\ndata: %b\n\n" % pair for pair in pairs])
        else:
            frames = b"".join([b"id: %d-%d\ndata: %b\n\n" % (*entry.id, entry.body) for entry in entries])
        if frames.count(b"\n") == 3 * len(entries) and b"\r" not in frames:
            return frames
        return b"".join([self.event(entry) for entry in entries])

    def gap(self, gap: Gap) -> bytes:
        position = as_cursor(gap.position)
        frame = b"data: %b\n\n" % _gap_body(gap.reason, position)
        return frame if gap.reason == "trimmed" else b"id: %d-%d\n%b" % (*position, frame)

    def queued(self, job_id: str, position: int) -> bytes:
        return b"data: %b\n\n" % _queued_body(job_id, position)

    def cursor_only(self, cursor: EventId) -> bytes:
        return b"id: %d-%d\n\n" % as_cursor(cursor)

    def ping_event(self, cursor: EventId) -> bytes:
        return b'data: {"type":"ping","cursor":"%d-%d"}\n\n' % as_cursor(cursor)

    def closing(self, retry_ms: int) -> bytes:
        return b"retry: %d\n\n" % retry_ms


class _Ndjson:
    media_type = "application/x-ndjson"
    opening = b"\n"
    ping = b"\n"

    def event(self, entry: Entry) -> bytes:
        return _with_id(entry.id, _one_line(entry.body))

    def events(self, entries: Sequence[Entry]) -> bytes:
        return b"".join([self.event(entry) for entry in entries])

    def gap(self, gap: Gap) -> bytes:
        position = as_cursor(gap.position)
        body = _gap_body(gap.reason, position)
        return body + b"\n" if gap.reason == "trimmed" else _with_id(position, body)

    def queued(self, job_id: str, position: int) -> bytes:
        return _queued_body(job_id, position) + b"\n"

    def cursor_only(self, cursor: EventId) -> bytes:
        return b'{"id":"%d-%d"}\n' % as_cursor(cursor)

    def ping_event(self, cursor: EventId) -> bytes:
        return b'{"type":"ping","cursor":"%d-%d"}\n' % as_cursor(cursor)

    def closing(self, retry_ms: int) -> bytes:
        return b""


SSE: Format = _Sse()
NDJSON: Format = _Ndjson()


def choose(accepted: Collection[str]) -> Format:
    """Choose the format for these accepted media types: NDJSON if it is among them, else Server-Sent Events."""
    return NDJSON if NDJSON.media_type in accepted else SSE


class Batch:
    """Entries that follow `prev` without a hole, and their frames, which all viewers of a format share."""

    __slots__ = ("_joined", "ending", "entries", "last", "prev", "size")

    def __init__(self, prev: EventId, entries: Sequence[Entry]) -> None:
        self.prev = prev
        self.entries = entries
        if len(entries) == 1:  # the common case of live delivery
            only = entries[0]
            self.last, self.size, self.ending = only.id, len(only.body), only.kind in _ENDS
        else:
            self.last, self.size = entries[-1].id, size_of(entries)
            self.ending = not _ENDS.isdisjoint(kinds_of(entries))
        self._joined: dict[tuple[Format, str | None], bytes] = {}

    def after(self, cursor: EventId, form: Format, job_id: str | None) -> bytes | None:
        """Return the frames after the cursor, of one job or of all. None: the cursor is not in this chain of ids."""
        if cursor == self.prev:
            joined = self._joined.get((form, job_id))
            if joined is None:
                joined = self._joined[form, job_id] = self._join(form, job_id, 0)
            return joined
        if cursor >= self.last:
            return b""
        for count, entry in enumerate(self.entries, 1):
            if entry.id == cursor:
                return self._join(form, job_id, count)
        return None

    def ends(self, job_id: str | None) -> bool:
        """Whether this batch ends a stream of this job, or of the session."""
        return self.ending and ends(self.entries, job_id)

    def _join(self, form: Format, job_id: str | None, start: int) -> bytes:
        entries = self.entries[start:] if start else self.entries
        return form.events(entries if job_id is None else [entry for entry in entries if concerns(entry, job_id)])


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
    """Whether a job's stream includes this entry."""
    return entry.job_id == job_id or entry.kind == DELETED


def ends(entries: Sequence[Entry], job_id: str | None) -> bool:
    """Whether one of these entries ends a stream of this job, or of the session when it is None."""
    if _ENDS.isdisjoint(kinds_of(entries)):
        return False
    return any(e.kind == DELETED or (e.kind in TERMINAL and e.job_id == job_id) for e in entries)


def until_deleted(entries: Sequence[Entry]) -> Sequence[Entry]:
    """Cut the entries after `session.deleted`: later ones belong to a new session with the same id."""
    if DELETED not in kinds_of(entries):
        return entries
    return entries[: next(count for count, entry in enumerate(entries, 1) if entry.kind == DELETED)]


def _one_line(body: bytes) -> bytes:
    """Replace line breaks, which would end the frame. JSON has them only between tokens, as whitespace."""
    if _LF in body or _CR in body:
        return body.replace(b"\r", b" ").replace(b"\n", b" ")
    return body


def _with_id(event_id: EventId, body: bytes) -> bytes:
    rest = body.lstrip()[1:]
    comma = b"" if rest.lstrip().startswith(b"}") else b","
    return b'{"id":"%d-%d"%b%b\n' % (*event_id, comma, rest)


def _gap_body(reason: str, position: EventId) -> bytes:
    return orjson.dumps({"type": "gap", "reason": reason, "position": str(position)})


def _queued_body(job_id: str, position: int) -> bytes:
    return orjson.dumps({"type": "job.queued", "job_id": job_id, "position": position})
