"""Reading a session's log, anchored: a page begins with the cursor or its direct follower, or says what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from shared.entries import Entry, chained, entries_of, entry_of
from shared.ids import ORIGIN, EventId, parse_id
from shared.keys import log_key, session_keys, state_key
from shared.pipe import Pipe
from shared.redis import Redis
from shared.wire import Argument

__all__ = ["PAGE_EVENTS", "Discard", "Entry", "EventLog", "Gap", "Page", "chained", "entry_of"]

PAGE_EVENTS = 1000


@dataclass(frozen=True, slots=True)
class Gap:
    """Events that cannot be had any more. Reading goes on from `position`."""

    reason: Literal["trimmed", "lost", "expired"]
    position: EventId


@dataclass(frozen=True, slots=True)
class Page:
    """The entries directly after a cursor, oldest first. After a `trimmed` gap they begin with the first that is kept;
    after any other gap there are none: read again from its position. `more`: the log held more than was asked for."""

    entries: Sequence[Entry]
    gap: Gap | None = None
    more: bool = False


class Discard(NamedTuple):
    """By its record, a job's latest attempt began with `started`, which discarded the events from `first` on."""

    job_id: str
    first: EventId
    started: EventId


class EventLog:
    """The logs of all sessions, for reading."""

    def __init__(self, redis: Redis | Pipe) -> None:
        self._call = redis.call

    async def read(self, session_id: str, cursor: EventId, count: int = PAGE_EVENTS) -> Page:
        """The entries after the cursor. Raises RedisError when the server does not answer."""
        anchored = await self._range(session_id, str(cursor), count + 1)
        page = page_behind(cursor, anchored, count)
        if page is not None:
            return page
        return await self._gap(session_id, cursor, _after(cursor, anchored, count), more=len(anchored) > count)

    async def backwards(self, session_id: str, first: EventId, below: EventId | None, count: int) -> Sequence[Entry]:
        """The newest entries from `first` on and below another id, or up to the end, oldest first. Holes are passed
        over."""
        end = "+" if below is None else f"({below}"
        found = await self._call("XREVRANGE", log_key(session_id), end, str(first), "COUNT", count)
        return entries_of(found[::-1])

    async def last(self, session_id: str) -> Entry | None:
        """The newest entry."""
        found = await self._call("XREVRANGE", log_key(session_id), "+", "-", "COUNT", 1)
        return entry_of(*found[0]) if found else None

    async def exists(self, session_id: str) -> bool:
        """Whether there is such a session, and nobody has asked for its deletion."""
        return is_there(*await self._call(*question(session_id)))

    async def discards(self, session_id: str, job_id: str | None = None) -> list[Discard]:
        """What later attempts discarded, of one job or of all."""
        keys = session_keys(session_id)
        jobs = [job_id] if job_id else [job.decode() for job in await self._call("LRANGE", keys.order, 0, -1)]
        if not jobs:
            return []
        fields = [f"{job}:{field}" for job in jobs for field in ("first", "started")]
        ids = await self._call("HMGET", keys.jobs, *fields)
        return [
            Discard(job, parse_id(first), parse_id(started))
            for job, first, started in zip(jobs, ids[::2], ids[1::2], strict=True)
            if first and started and first != started
        ]

    async def _gap(self, session_id: str, cursor: EventId, later: Sequence[Entry], *, more: bool) -> Page:
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
        recorded = await self._call("HGET", state_key(session_id), "top")
        if cursor == ORIGIN and (recorded is None or parse_id(recorded) == ORIGIN):
            return Page([])
        if await self._call("XLEN", log_key(session_id)):  # its first entry came between the reads
            return Page([], more=True)
        return Page([], Gap("expired", ORIGIN))

    async def _newest_upto(self, session_id: str, cursor: EventId) -> EventId:
        found = await self._call("XREVRANGE", log_key(session_id), str(cursor), "-", "COUNT", 1)
        return parse_id(found[0][0]) if found else ORIGIN

    async def _range(self, session_id: str, start: str, count: int) -> Sequence[Entry]:
        return entries_of(await self._call("XRANGE", log_key(session_id), start, "+", "COUNT", count))


def question(session_id: str) -> Sequence[Argument]:
    """The command that asks whether there is such a session; `is_there` takes what it answers."""
    return "HMGET", state_key(session_id), "created", "deleted"


def is_there(created: bytes | None, deleted: bytes | None) -> bool:
    return created is not None and not deleted


def page_behind(cursor: EventId, anchored: Sequence[Entry], count: int) -> Page | None:
    """The page of so many entries behind a cursor, from one more that begin at it; None where they do not follow it."""
    after = _after(cursor, anchored, count)
    if after:
        return _page(cursor, after, more=len(anchored) > count) if chained(cursor, after[:1]) else None
    return Page([]) if anchored else None


def _after(cursor: EventId, anchored: Sequence[Entry], count: int) -> Sequence[Entry]:
    return anchored[1:] if anchored and anchored[0].id == cursor else anchored[:count]


def _page(cursor: EventId, entries: Sequence[Entry], *, more: bool) -> Page:
    """The contiguous beginning; a hole behind it is found by the next read, which begins there."""
    count = chained(cursor, entries)
    return Page(entries[:count], more=more or count < len(entries))
