"""Merges adjacent deltas, so that catching up takes fewer events. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from holdfast.shared.log.entries import Delta, Entry, bodies_of, delta_of

MERGED_BYTES = 64 * 1024
_FROM_BYTES = 64  # `,"from":"<id>"`, which is added to a merged delta
_CHUNK = 256


class Compactor:
    """Merges runs of deltas. A run that is open at the end of a page continues on the next one.

    `run` is that open run. It is never modified, so that several compactors can continue from it."""

    __slots__ = ("run",)

    def __init__(self, run: Run | None = None) -> None:
        self.run = run

    def feed(self, entries: Sequence[Entry]) -> list[Entry]:
        """Add entries. Returns the events that are complete, oldest first."""
        done: list[Entry] = []
        run = None if self.run is None else self.run.copy()
        at, chunk = 0, 1 if run is None else _CHUNK
        while at < len(entries):
            taken = 0 if run is None else run.take(entries[at : at + chunk])
            if not taken:
                done += _close(run)
                run = _begin(entries[at])
                if run is None:
                    done.append(entries[at])
            at += taken or 1
            chunk = min(2 * taken, _CHUNK) or 1  # a failed chunk costs no more than the successful ones before
        self.run = run
        return done

    def flush(self) -> list[Entry]:
        """Close the open run. Returns it as one event with the id of its last delta; empty if there is none."""
        run, self.run = self.run, None
        return _close(run)


class Run:
    """Adjacent deltas that differ only in their texts.

    Usually their bytes are equal before (`_head`) and after (`_tail`) the text, which is checked for many deltas at a
    time without parsing them."""

    __slots__ = ("_delta", "_first", "_head", "_last", "_size", "_tail", "_texts")

    def __init__(self, entry: Entry, delta: Delta) -> None:
        self._delta = delta
        self._first = self._last = entry
        self._texts = [delta.text]
        self._size = len(entry.body) + _FROM_BYTES
        self._head, self._tail = _around(entry.body, delta)

    def copy(self) -> Run:
        """Copy the run, to continue it on the next page."""
        copy = object.__new__(Run)
        copy._delta, copy._head, copy._tail = self._delta, self._head, self._tail
        copy._first, copy._last = self._first, self._last
        copy._texts, copy._size = self._texts.copy(), self._size
        return copy

    def take(self, entries: Sequence[Entry]) -> int:
        """Add all of these entries, or only the first. Returns the number added; 0: the first does not belong."""
        text = self._between(bodies_of(entries)) if self._head else None
        if text is not None and self._fits(text):
            self._add(text, entries[-1])
            return len(entries)
        delta = delta_of(entries[0])
        if delta is None or not delta.continues(self._delta) or not self._fits(delta.text):
            return 0
        self._add(delta.text, entries[0])
        return 1

    def merged(self) -> Entry:
        """Return the run as one event."""
        first, last = self._first, self._last
        if first is last:
            return first
        text = orjson.Fragment(b'"%b"' % b"".join(self._texts))
        body = orjson.dumps({**self._delta.rest, self._delta.name: text, "from": str(first.id)})
        return Entry(last.id, last.kind, last.job_id, body, None)

    def _fits(self, text: bytes) -> bool:
        return self._size + len(text) <= MERGED_BYTES

    def _add(self, text: bytes, last: Entry) -> None:
        self._texts.append(text)
        self._size += len(text)
        self._last = last

    def _between(self, bodies: Sequence[bytes]) -> bytes | None:
        """Return the joined JSON texts of these events, or None unless their bytes show that all belong to this run.

        Each must have the head and the tail of the run, and between them one text with an unescaped closing quote."""
        joint = self._tail + b"\n" + self._head
        joined = b"\n".join(bodies)
        text = joined[len(self._head) : -len(self._tail)].replace(joint, b"")
        if len(joined) - len(self._head) - len(self._tail) - len(text) != len(joint) * (len(bodies) - 1):
            return None
        if not joined.startswith(self._head) or not joined.endswith(self._tail):
            return None
        if b"\\" in text and (b"\\u" in text or b"\\" + self._tail in joined):
            return None
        return text if _is_text(text) else None


def _around(body: bytes, delta: Delta) -> tuple[bytes, bytes]:
    """Return the bytes before and after a delta's text; empty if the bytes alone do not determine them."""
    opening = b'"%b":"' % delta.name.encode()
    parts = body.split(opening + delta.text + b'"')
    if len(parts) != 2 or not all(isinstance(value, str | int) for value in delta.rest.values()):
        return b"", b""
    return parts[0] + opening, b'"' + parts[1]


def _is_text(text: bytes) -> bool:
    """Return whether this is the content of one JSON string."""
    try:
        orjson.loads(b'"%b"' % text)
    except orjson.JSONDecodeError:
        return False
    return True


def _begin(entry: Entry) -> Run | None:
    delta = delta_of(entry)
    return None if delta is None else Run(entry, delta)


def _close(run: Run | None) -> list[Entry]:
    return [] if run is None else [run.merged()]
