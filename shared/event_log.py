"""Reading a session's log, anchored: a page begins with the cursor or its direct follower, or says what is missing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from shared.ids import ORIGIN, EventId, follows, parse_id
from shared.keys import log_key, session_keys
from shared.redis import Redis

PAGE_EVENTS = 500


@dataclass(frozen=True, slots=True)
class Entry:
    """One event. `body` is its JSON, without the id, exactly as the wire sends it. `prev` stands on seq 1 only."""

    id: EventId
    kind: str
    job_id: str
    body: bytes
    prev: EventId | None


@dataclass(frozen=True, slots=True)
class Gap:
    """Events that cannot be had any more. Reading goes on from `position`."""

    reason: Literal["trimmed", "lost", "expired"]
    position: EventId


@dataclass(frozen=True, slots=True)
class Page:
    """The entries directly after a cursor, oldest first. After a `trimmed` gap they begin with the first that is kept;
    after any other gap there are none: read again from its position. `more`: the log held more than was asked for."""

    entries: list[Entry]
    gap: Gap | None = None
    more: bool = False


def entry_of(raw_id: bytes, fields: Sequence[bytes]) -> Entry:
    """An entry from the flat list of fields and values that a stream command answers."""
    return _entry(raw_id, dict(zip(fields[::2], fields[1::2], strict=True)))


def _entry(raw_id: bytes, values: Mapping[bytes, bytes]) -> Entry:
    prev = values.get(b"p")
    return Entry(
        parse_id(raw_id),
        values[b"k"].decode(),
        values[b"j"].decode(),
        values[b"e"],
        None if prev is None else parse_id(prev),
    )


def chained(cursor: EventId, entries: Sequence[Entry]) -> int:
    """How many of the leading entries follow the cursor without a hole."""
    for count, entry in enumerate(entries):
        if not follows(cursor, entry.id, entry.prev):
            return count
        cursor = entry.id
    return len(entries)


class EventLog:
    """The logs of all sessions, for reading."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def read(self, session_id: str, cursor: EventId, count: int = PAGE_EVENTS) -> Page:
        """The entries after the cursor. Raises RedisError when the server does not answer."""
        anchored = await self._range(session_id, str(cursor), count + 1)
        more = len(anchored) > count
        here = bool(anchored) and anchored[0].id == cursor
        after = anchored[1:] if here else anchored[:count]
        if after and chained(cursor, after[:1]):
            return _page(cursor, after, more=more)
        if here and not after:
            return Page([])
        return await self._gap(session_id, cursor, after, more=more)

    async def walk(self, session_id: str, cursor: EventId) -> AsyncIterator[Entry]:
        """Everything from the cursor to the present end that can still be had, holes passed over."""
        while True:
            page = await self.read(session_id, cursor)
            for entry in page.entries:
                yield entry
                cursor = entry.id
            if page.gap is not None and not page.entries:
                if page.gap.position == ORIGIN:
                    return
                cursor = page.gap.position
            elif not page.more:
                return

    async def last(self, session_id: str) -> Entry | None:
        """The newest entry."""
        found = await self._redis.xrevrange(log_key(session_id), "+", "-", count=1)
        return _entry(*found[0]) if found else None

    async def _gap(self, session_id: str, cursor: EventId, later: list[Entry], *, more: bool) -> Page:
        below = await self._newest_upto(session_id, cursor)
        if below not in (ORIGIN, cursor):
            return Page([], Gap("lost", below))
        if later:
            page = _page(later[0].id, later[1:], more=more)
            return Page([later[0], *page.entries], Gap("trimmed", later[0].id), page.more)
        if below == cursor != ORIGIN:  # appended between the two reads
            return Page([], more=True)
        return await self._empty(session_id, cursor)

    async def _empty(self, session_id: str, cursor: EventId) -> Page:
        """No entry at all: a log that vanished, or one that never had an event."""
        recorded = await self._redis.hget(session_keys(session_id).state, "top")
        if cursor == ORIGIN and (recorded is None or parse_id(recorded) == ORIGIN):
            return Page([])
        if await self._redis.xlen(log_key(session_id)):  # its first entry came between the reads
            return Page([], more=True)
        return Page([], Gap("expired", ORIGIN))

    async def _newest_upto(self, session_id: str, cursor: EventId) -> EventId:
        found = await self._redis.xrevrange(log_key(session_id), str(cursor), "-", count=1)
        return parse_id(found[0][0]) if found else ORIGIN

    async def _range(self, session_id: str, start: str, count: int) -> list[Entry]:
        found = await self._redis.xrange(log_key(session_id), start, "+", count=count)
        return [_entry(raw_id, values) for raw_id, values in found]


def _page(cursor: EventId, entries: list[Entry], *, more: bool) -> Page:
    """The contiguous beginning; a hole behind it is found by the next read, which begins there."""
    count = chained(cursor, entries)
    return Page(entries[:count], more=more or count < len(entries))
