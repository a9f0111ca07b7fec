"""Entries of a log: one event each, read from what a stream command answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from itertools import repeat
from typing import Any, NamedTuple, cast

from shared.ids import EventId, follows, parse_id

_NAMES = (b"e", b"j", b"k")  # as our scripts write them; another order is read as well
_PLAIN = 2 * len(_NAMES)
_FEW = 4


class Entry(NamedTuple):
    """One event. `body` is its JSON, without the id, exactly as the wire sends it. `prev` stands on seq 1 only."""

    id: EventId
    kind: str
    job_id: str
    body: bytes
    prev: EventId | None


# Tuples that are made by the interpreter itself cost a third.
_new_entry = partial(cast("Any", tuple.__new__), Entry)
_new_id = partial(cast("Any", tuple.__new__), EventId)
_kind = lru_cache(maxsize=256)(cast("Any", bytes.decode))  # there are few


def entry_of(raw_id: bytes, fields: Sequence[bytes]) -> Entry:
    """An entry from its id and the flat list of its fields and values. Raises KeyError, ValueError for none of ours."""
    if len(fields) == _PLAIN and (fields[0], fields[2], fields[4]) == _NAMES:
        return Entry(parse_id(raw_id), _kind(fields[5]), fields[3].decode(), fields[1], None)
    values = dict(zip(fields[::2], fields[1::2], strict=True))
    prev = values.get(b"p")
    return Entry(
        parse_id(raw_id),
        _kind(values[b"k"]),
        values[b"j"].decode(),
        values[b"e"],
        None if prev is None else parse_id(prev),
    )


def entries_of(reply: Sequence[Sequence[Any]]) -> list[Entry]:
    """All entries of a reply, which Redis gives in ascending order. Raises as entry_of."""
    if len(reply) < _FEW:
        return [entry_of(raw_id, fields) for raw_id, fields in reply]
    entries: list[Entry] = []
    start = 0
    for at in (at for at, (_, fields) in enumerate(reply) if len(fields) != _PLAIN):
        entries += _alike(reply[start:at])
        entries.append(entry_of(*reply[at]))
        start = at + 1
    entries += _alike(reply[start:])
    return entries


def chained(cursor: EventId, entries: Sequence[Entry]) -> int:
    """How many of the leading entries, which ascend, follow the cursor without a hole."""
    if not entries:
        return 0
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


def _alike(reply: Sequence[Sequence[Any]]) -> Iterator[Entry]:
    """Entries without `prev`, column by column."""
    if not reply:
        return iter(())
    raw_ids, fields = zip(*reply, strict=True)
    e, bodies, j, jobs, k, kinds = zip(*fields, strict=True)
    if (e.count(b"e"), j.count(b"j"), k.count(b"k")) != (len(e),) * 3:
        return (entry_of(raw_id, values) for raw_id, values in reply)
    names = {job: job.decode() for job in set(jobs)}
    columns = zip(_ids(raw_ids), map(_kind, kinds), map(names.__getitem__, jobs), bodies, repeat(None))
    return map(_new_entry, columns)


def _ids(raw_ids: Sequence[bytes]) -> Iterator[EventId]:
    first, last = parse_id(raw_ids[0]), parse_id(raw_ids[-1])
    if not _contiguous(first, last, raw_ids):
        return map(parse_id, raw_ids)
    return map(_new_id, zip(repeat(first.epoch), range(first.seq, last.seq + 1)))
