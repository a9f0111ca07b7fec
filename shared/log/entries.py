"""Parse the entries of a log, one event each, from the replies of Redis Stream commands.

An entry's first field is named `<job id> <kind>`, and its value is the event. One field costs Redis and readers less
than three would. The entry with seq 1 has two more: `p`, the id before it, and `v`, the schema version of its epoch.
`session.deleted` may have `t`, the series of the session's tickets. Unknown fields are ignored.

An entry that another program wrote into the log is foreign: its id is not an event's, its name has another form, or its
value is not a JSON object. Readers stop in front of it; shared.log.event_log reports it as a gap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from itertools import pairwise, repeat
from typing import Any, NamedTuple, cast, overload

import orjson
from holdfast.shared.errors import SchemaNewer
from holdfast.shared.ids import EventId, follows, is_event_id, new_id, parse_id
from holdfast.shared.log.events import DELTAS
from holdfast.shared.schema import check_schema

_PLAIN = 2  # the name and the event
_FEW = 4


class Entry(NamedTuple):
    """One event. `body` is its JSON without the id, as it is sent to viewers. `prev` is set on seq 1 only."""

    id: EventId
    kind: str
    job_id: str
    body: bytes
    prev: EventId | None

    @property
    def before(self) -> EventId:
        """The id of the event before it."""
        return self.prev if self.prev is not None else EventId(self.id.epoch, self.id.seq - 1)


# As shared.ids.new_id.
_new_entry: Callable[[Iterable[Any]], Entry] = partial(cast("Any", tuple.__new__), Entry)


def name_of(job_id: str, kind: str) -> str:
    """Return the name of the field that holds an entry's event."""
    return f"{job_id} {kind}"


def entry_of(raw_id: bytes, fields: Sequence[bytes]) -> Entry:
    """Parse an entry from its id and the flat list of its fields and values.

    Raises ValueError when it is foreign, SchemaNewer when it begins an epoch of a newer version."""
    event_id = parse_id(raw_id)
    if not is_event_id(event_id):
        raise ValueError(raw_id)
    return _entry(event_id, fields)


def _entry(event_id: EventId, fields: Sequence[bytes]) -> Entry:
    job_id, kind = _job_and_kind(fields[0])
    body = fields[1]
    if (body[:9] != _HEAD or body[-1:] != b"}") and not _is_object(body):
        raise ValueError(body)
    prev = None if len(fields) == _PLAIN else _prev(fields)
    return _new_entry((event_id, kind, job_id, body, prev))


def _prev(fields: Sequence[bytes]) -> EventId | None:
    """Return the predecessor that the first entry of an epoch names. Raises SchemaNewer."""
    further = dict(zip(fields[2::2], fields[3::2], strict=True))
    check_schema(further.get(b"v"), "The log")
    prev = further.get(b"p")
    return None if prev is None else parse_id(prev)


@lru_cache(maxsize=4096)  # the deltas of a job share one name and arrive one by one
def _job_and_kind(name: bytes) -> tuple[str, str]:
    job_id, _, kind = name.decode().partition(" ")
    if not kind:
        raise ValueError(name)
    return job_id, kind


_HEAD = b'{"type":"'  # prefix of nearly every event; one with it is not parsed to validate it


def _are_events(bodies: Sequence[bytes]) -> bool:
    """Return whether all bodies are JSON objects. Bodies with the usual prefix are checked together, without
    parsing."""
    joined = b"\n".join(bodies)
    if joined.count(b"}\n" + _HEAD) == len(bodies) - 1 and joined[:9] == _HEAD and joined[-1:] == b"}":
        return True
    return all(map(_is_object, bodies))


def _is_object(body: bytes) -> bool:
    try:
        return isinstance(orjson.loads(body), dict)
    except orjson.JSONDecodeError:
        return False


_Named = dict[bytes, tuple[str, str]]


def _each(names: Sequence[bytes]) -> _Named:
    """Parse each distinct field name once. Raises ValueError for a foreign one."""
    return {name: _job_and_kind(name) for name in set(names)}


class EntryColumns(Sequence[Entry]):
    """Entries without further fields, stored as columns. An Entry is created only on access, so that large replies are
    cheap. The ids ascend."""

    __slots__ = ("_named", "bodies", "names", "raw_ids")
    __hash__ = None  # type: ignore[assignment]

    def __init__(
        self, raw_ids: Sequence[bytes], names: Sequence[bytes], bodies: Sequence[bytes], named: _Named | None = None
    ) -> None:
        self.raw_ids = raw_ids
        self.names = names
        self.bodies = bodies
        self._named = named

    @property
    def named(self) -> _Named:
        """Job id and kind for each distinct field name."""
        if self._named is None:
            self._named = _each(self.names)
        return self._named

    def __len__(self) -> int:
        return len(self.bodies)

    @overload
    def __getitem__(self, at: int) -> Entry: ...

    @overload
    def __getitem__(self, at: slice) -> EntryColumns: ...

    def __getitem__(self, at: int | slice) -> Entry | EntryColumns:
        if isinstance(at, slice):
            return EntryColumns(self.raw_ids[at], self.names[at], self.bodies[at])
        return _entry(parse_id(self.raw_ids[at]), (self.names[at], self.bodies[at]))

    def __iter__(self) -> Iterator[Entry]:
        if not self.names:
            return iter(())
        jobs, kinds = zip(*map(self.named.__getitem__, self.names), strict=True)
        return map(_new_entry, zip(_ids(self.raw_ids), kinds, jobs, self.bodies, repeat(None)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)


def entries_of(reply: Sequence[Sequence[Any]]) -> Sequence[Entry]:
    """Parse the entries of a reply, in ascending order, up to the first that is foreign or begins an epoch of a newer
    schema version.

    The ids of a long reply are not validated: one that is not an event's fails the check for holes later."""
    further = [at for at, (_, fields) in enumerate(reply) if len(fields) != _PLAIN]
    if not further:
        return _plain_entries(reply)
    entries: list[Entry] = []
    for start, end in pairwise(sorted({0, len(reply), *further, *(at + 1 for at in further)})):
        entries += _leading(reply[start:end]) if end - start == 1 else _plain_entries(reply[start:end])
        if len(entries) < end:
            break
    return entries


def _plain_entries(reply: Sequence[Sequence[Any]]) -> Sequence[Entry]:
    """Parse the leading entries of a reply whose entries all have a single field."""
    if len(reply) >= _FEW:
        raw_ids, fields = zip(*reply, strict=True)
        names, bodies = zip(*fields, strict=True)
        with suppress(ValueError):
            named = _each(names)
            if _are_events(bodies):
                return EntryColumns(raw_ids, names, bodies, named)
    return list(_leading(reply))


def own_entries(reply: Sequence[Sequence[Any]]) -> Sequence[Entry]:
    """Parse all entries of a reply, without the foreign ones. Raises SchemaNewer."""
    entries = entries_of(reply)
    if len(entries) == len(reply) and (not entries or _contiguous(entries[0].id, entries[-1].id, entries)):
        return entries
    return [entry for raw_id, fields in reply if (entry := _own(raw_id, fields)) is not None]


def foreign_lead(reply: Sequence[Sequence[Any]]) -> int:
    """Count the foreign entries at the beginning of a reply. Raises SchemaNewer."""
    for count, (raw_id, fields) in enumerate(reply):
        if _own(raw_id, fields) is not None:
            return count
    return len(reply)


def following(cursor: EventId, reply: Sequence[Sequence[Any]]) -> Sequence[Entry]:
    """Return the leading entries of a reply that follow the cursor without a hole or a foreign entry."""
    if len(reply) == 1:  # fast path for live viewers
        raw_id, fields = reply[0]
        expected = new_id((cursor.epoch, cursor.seq + 1))
        if raw_id == b"%d-%d" % expected and cursor.seq:  # a fifth of the cost of parsing the id
            try:
                return [_entry(expected, fields)]
            except (ValueError, SchemaNewer):
                return []
    entries = entries_of(reply)
    count = chained(cursor, entries)
    return entries if count == len(entries) else entries[:count]


def _leading(reply: Sequence[Sequence[Any]]) -> Iterator[Entry]:
    with suppress(ValueError, SchemaNewer):
        for raw_id, fields in reply:
            yield entry_of(raw_id, fields)


def _own(raw_id: bytes, fields: Sequence[bytes]) -> Entry | None:
    try:
        return entry_of(raw_id, fields)
    except ValueError:
        return None


def bodies_of(entries: Sequence[Entry]) -> Sequence[bytes]:
    """Return the bodies of the entries."""
    return entries.bodies if type(entries) is EntryColumns else [entry.body for entry in entries]


def kinds_of(entries: Sequence[Entry]) -> set[str]:
    """Return the distinct kinds of the entries."""
    if type(entries) is EntryColumns:
        return {kind for _, kind in entries.named.values()}
    return {entry.kind for entry in entries}


def chained(cursor: EventId, entries: Sequence[Entry]) -> int:
    """Count the leading entries that follow the cursor without a hole. The ids ascend."""
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
    """Return whether ascending ids from first to last have no hole: their number equals the distance."""
    return first.epoch == last.epoch and last.seq - first.seq == len(ascending) - 1


def _ids(raw_ids: Sequence[bytes]) -> Iterator[EventId]:
    first, last = parse_id(raw_ids[0]), parse_id(raw_ids[-1])
    if not _contiguous(first, last, raw_ids):
        return map(parse_id, raw_ids)
    return map(new_id, zip(repeat(first.epoch), range(first.seq, last.seq + 1)))


class Delta(NamedTuple):
    """A delta with known fields only, so that merging loses nothing. `text`: its text in JSON encoding, without quotes.
    `rest`: its other fields."""

    name: str
    text: bytes
    rest: dict[str, Any]

    def continues(self, other: Delta) -> bool:
        """Return whether the two are equal but for their texts."""
        return self.name == other.name and self.rest == other.rest


def delta_of(entry: Entry) -> Delta | None:
    """Return the entry as a mergeable delta. None for other kinds, or with a further field such as `checkpoint`."""
    fields = DELTAS.get(entry.kind)
    if fields is None:
        return None
    name, run = fields
    try:
        rest = orjson.loads(entry.body)
    except orjson.JSONDecodeError:
        return None
    text = rest.pop(name, None) if isinstance(rest, dict) else None
    if not isinstance(text, str) or not rest.keys() <= {"type", "job_id", "agent", run}:
        return None
    return Delta(name, orjson.dumps(text)[1:-1], rest)
