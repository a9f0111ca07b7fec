"""Entries of a log: one event each, read from what a stream command answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import repeat
from typing import Any, NamedTuple, cast, overload

from shared.ids import EventId, follows, new_id, parse_id

_PLAIN = 6  # e, j and k with their values, as our scripts write them; another order is read as well
_FEW = 4


class Entry(NamedTuple):
    """One event. `body` is its JSON, without the id, exactly as the wire sends it. `prev` stands on seq 1 only."""

    id: EventId
    kind: str
    job_id: str
    body: bytes
    prev: EventId | None


# As shared.ids.new_id.
_new_entry: Callable[[Iterable[Any]], Entry] = partial(cast("Any", tuple.__new__), Entry)
_kind = lru_cache(maxsize=256)(cast("Any", bytes.decode))  # there are few


def entry_of(raw_id: bytes, fields: Sequence[bytes]) -> Entry:
    """An entry from its id and the flat list of its fields and values. Raises KeyError, ValueError for none of ours."""
    if len(fields) == _PLAIN:
        e, body, j, job_id, k, kind = fields
        if e == b"e" and j == b"j" and k == b"k":
            return _new_entry((parse_id(raw_id), _kind(kind), job_id.decode(), body, None))
    values = dict(zip(fields[::2], fields[1::2], strict=True))
    prev = values.get(b"p")
    return Entry(
        parse_id(raw_id),
        _kind(values[b"k"]),
        values[b"j"].decode(),
        values[b"e"],
        None if prev is None else parse_id(prev),
    )


class Alike(Sequence[Entry]):
    """Entries without `prev`, column by column as they came, so that many cost little: an entry is made when somebody
    looks at it. The ids ascend."""

    __slots__ = ("bodies", "job_ids", "kinds", "raw_ids")
    __hash__ = None  # type: ignore[assignment]

    def __init__(
        self, raw_ids: Sequence[bytes], kinds: Sequence[bytes], job_ids: Sequence[bytes], bodies: Sequence[bytes]
    ) -> None:
        self.raw_ids = raw_ids
        self.kinds = kinds
        self.job_ids = job_ids
        self.bodies = bodies

    def __len__(self) -> int:
        return len(self.bodies)

    @overload
    def __getitem__(self, at: int) -> Entry: ...

    @overload
    def __getitem__(self, at: slice) -> Alike: ...

    def __getitem__(self, at: int | slice) -> Entry | Alike:
        if isinstance(at, slice):
            return Alike(self.raw_ids[at], self.kinds[at], self.job_ids[at], self.bodies[at])
        return Entry(
            parse_id(self.raw_ids[at]), _kind(self.kinds[at]), self.job_ids[at].decode(), self.bodies[at], None
        )

    def __iter__(self) -> Iterator[Entry]:
        names = {job: job.decode() for job in set(self.job_ids)}
        jobs = map(names.__getitem__, self.job_ids)
        return map(_new_entry, zip(_ids(self.raw_ids), map(_kind, self.kinds), jobs, self.bodies, repeat(None)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)


def entries_of(reply: Sequence[Sequence[Any]]) -> Sequence[Entry]:
    """All entries of a reply, which Redis gives in ascending order. Raises as entry_of."""
    if len(reply) >= _FEW and all(len(fields) == _PLAIN for _, fields in reply):
        raw_ids, fields = zip(*reply, strict=True)
        e, bodies, j, job_ids, k, kinds = zip(*fields, strict=True)
        if (e.count(b"e"), j.count(b"j"), k.count(b"k")) == (len(e),) * 3:
            return Alike(raw_ids, kinds, job_ids, bodies)
    if len(reply) == 1:  # as in every second of a stream
        return [entry_of(*reply[0])]
    return [entry_of(raw_id, fields) for raw_id, fields in reply]


def bodies_of(entries: Sequence[Entry]) -> Sequence[bytes]:
    """Their bodies."""
    return entries.bodies if type(entries) is Alike else [entry.body for entry in entries]


def kinds_of(entries: Sequence[Entry]) -> set[str]:
    """The kinds among them."""
    return set(map(_kind, set(entries.kinds))) if type(entries) is Alike else {entry.kind for entry in entries}


def chained(cursor: EventId, entries: Sequence[Entry]) -> int:
    """How many of the leading entries, which ascend, follow the cursor without a hole."""
    if len(entries) >= _FEW:
        first, last = entries[0], entries[-1]
        if _contiguous(first.id, last.id, entries):
            return len(entries) if follows(cursor, first.id, first.prev) else 0
    for count, entry in enumerate(entries):
        if not follows(cursor, entry.id, entry.prev):
            return count
        cursor = entry.id
    return len(entries)


def _contiguous(first: EventId, last: EventId, ascending: Sequence[Any]) -> bool:
    """Whether so many ids that ascend from first to last leave none out: then they fill the space between."""
    return first.epoch == last.epoch and last.seq - first.seq == len(ascending) - 1


def _ids(raw_ids: Sequence[bytes]) -> Iterator[EventId]:
    first, last = parse_id(raw_ids[0]), parse_id(raw_ids[-1])
    if not _contiguous(first, last, raw_ids):
        return map(parse_id, raw_ids)
    return map(new_id, zip(repeat(first.epoch), range(first.seq, last.seq + 1)))
