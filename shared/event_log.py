"""Reading a session's log, anchored: a page begins with the cursor or its direct follower, or says what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import structlog
from holdfast.shared.auto_pipeline import AutoPipeline
from holdfast.shared.discards import Discard, ranges_of
from holdfast.shared.entries import Entry, chained, entries_of, entry_of, following, foreign_lead, own_entries
from holdfast.shared.ids import ORIGIN, EventId, parse_id
from holdfast.shared.keys import log_key, session_keys, state_key
from holdfast.shared.once import Once
from holdfast.shared.redis import Redis
from holdfast.shared.redis_connection import Argument
from holdfast.shared.schema import check_schema

__all__ = ["PAGE_EVENTS", "Entry", "EventLog", "Gap", "Page", "chained", "entry_of"]

logger = structlog.get_logger()

PAGE_EVENTS = 1000
LAST_ENTRIES = 10

Reply = Sequence[Sequence[Any]]
Presence = Literal["there", "deleting", "absent"]


@dataclass(frozen=True, slots=True)
class Gap:
    """Events that cannot be had any more. `position` is where a client goes on from; reading goes on from there too, or
    behind a foreign entry, of which `foreign` is the id."""

    reason: Literal["trimmed", "lost", "expired"]
    position: EventId
    foreign: EventId | None = None

    @property
    def resume(self) -> EventId:
        """The id from which reading goes on."""
        return self.position if self.foreign is None else self.foreign


@dataclass(frozen=True, slots=True)
class Page:
    """The entries directly after a cursor, oldest first. After a `trimmed` gap they begin with the first that is kept;
    after any other gap there are none: read again from its `resume`. `more`: the log held more than was asked for."""

    entries: Sequence[Entry]
    gap: Gap | None = None
    more: bool = False


class Older(NamedTuple):
    """A page that was read backwards, its entries oldest first. `below`: where the next one ends, if there is one."""

    entries: Sequence[Entry]
    below: EventId | None


class Newer(NamedTuple):
    """A page of a range, its entries oldest first. `first`: where the next one begins, if there is one."""

    entries: Sequence[Entry]
    first: EventId | None


class EventLog:
    """The logs of all sessions, for reading."""

    def __init__(self, redis: Redis | AutoPipeline) -> None:
        self._call = redis.call
        self._reported = Once()

    async def read(self, session_id: str, cursor: EventId, count: int = PAGE_EVENTS) -> Page:
        """The entries after the cursor.

        Raises RedisError when the server does not answer, SchemaNewer when a newer version has written the next one."""
        anchored = await self._call("XRANGE", log_key(session_id), str(cursor), "+", "COUNT", count + 1)
        page = page_behind(cursor, anchored, count)
        if page is not None:
            return page
        return await self._gap(session_id, cursor, _after(cursor, anchored, count), more=len(anchored) > count)

    async def backwards(self, session_id: str, first: EventId, below: EventId | None, count: int) -> Older:
        """The newest entries from `first` on and below another id, or up to the end. Holes and foreign entries are
        passed over."""
        end = "+" if below is None else f"({below}"
        found = await self._call("XREVRANGE", log_key(session_id), end, str(first), "COUNT", count)
        return Older(own_entries(found[::-1]), parse_id(found[-1][0]) if len(found) == count else None)

    async def last(self, session_id: str) -> Entry | None:
        """The newest entry that is not foreign."""
        below = "+"
        while found := await self._call("XREVRANGE", log_key(session_id), below, "-", "COUNT", LAST_ENTRIES):
            entries = own_entries(found[::-1])
            if entries:
                return entries[-1]
            below = f"({found[-1][0].decode()}"
        return None

    async def top(self, session_id: str) -> EventId:
        """The id of the newest entry, whosever it is; that before the first where the log is empty."""
        found = await self._call("XREVRANGE", log_key(session_id), "+", "-", "COUNT", 1)
        return parse_id(found[0][0]) if found else ORIGIN

    async def exists(self, session_id: str) -> bool:
        """Whether there is such a session, and nobody has asked for its deletion."""
        return await self.presence(session_id) == "there"

    async def presence(self, session_id: str) -> Presence:
        """Whether there is such a session, or one that is being deleted."""
        return presence(*await self._call(*question(session_id)))

    async def discards(self, session_id: str, job_id: str | None = None) -> list[Discard]:
        """What later attempts discarded, of one job or of all."""
        keys = session_keys(session_id)
        jobs = [job_id] if job_id else [job.decode() for job in await self._call("LRANGE", keys.order, 0, -1)]
        if not jobs:
            return []
        fields = [f"{job}:{field}" for job in jobs for field in ("first", "started", "discards")]
        values = await self._call("HMGET", keys.jobs, *fields)
        records = zip(jobs, values[::3], values[1::3], values[2::3], strict=True)
        return [discard for record in records for discard in _discards_of(*record)]

    async def between(self, session_id: str, first: EventId, last: EventId, count: int) -> Newer:
        """The oldest entries from one id to another, both included. Holes and foreign entries are passed over."""
        found = await self._call("XRANGE", log_key(session_id), str(first), str(last), "COUNT", count)
        return Newer(own_entries(found), parse_id(found[-1][0]).next() if len(found) == count else None)

    async def _gap(self, session_id: str, cursor: EventId, later: Reply, *, more: bool) -> Page:
        below = await self._newest_upto(session_id, cursor)
        if below not in (ORIGIN, cursor):
            return Page([], Gap("lost", below))
        foreign = foreign_lead(later)
        if foreign:
            last = parse_id(later[foreign - 1][0])
            self._report(session_id, cursor, last, foreign)
            return Page([], Gap("lost", cursor, last))
        if later:
            entries = entries_of(later)
            count = 1 + chained(entries[0].id, entries[1:])
            return Page(entries[:count], Gap("trimmed", entries[0].id), more or count < len(later))
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

    def _report(self, session_id: str, cursor: EventId, last: EventId, count: int) -> None:
        """Log foreign entries once, though every reader meets them, and many of them page by page: the next page of a
        run begins behind the `last` of the one before."""
        if self._reported.add((session_id, cursor), (session_id, last)):
            logger.warning(
                "foreign entries in a log: its viewers get a gap", session_id=session_id, last=str(last), entries=count
            )

    async def _newest_upto(self, session_id: str, cursor: EventId) -> EventId:
        found = await self._call("XREVRANGE", log_key(session_id), str(cursor), "-", "COUNT", 1)
        return parse_id(found[0][0]) if found else ORIGIN


def _discards_of(job_id: str, first: bytes | None, started: bytes | None, discards: bytes | None) -> list[Discard]:
    """What the record of a job says. `started` is written by workers of schema 0, whose attempts discard everything
    from the job's first event on."""
    found = [Discard(job_id, *ids) for ids in ranges_of((discards or b"").decode())]
    if first and started and first != started:
        found.append(Discard(job_id, parse_id(first), parse_id(started)))
    return found


def question(session_id: str) -> Sequence[Argument]:
    """The command that asks whether there is such a session; `presence` takes what it answers."""
    return "HMGET", state_key(session_id), "created", "deleted", "schema"


def presence(created: bytes | None, deleted: bytes | None, schema: bytes | None) -> Presence:
    """Whether there is such a session. From the 202 of a deletion until a worker carries it out it is `deleting`.

    Raises SchemaNewer for a session that a newer version has written."""
    check_schema(schema, "The session")
    if created is None:
        return "absent"
    return "deleting" if deleted else "there"


def page_behind(cursor: EventId, anchored: Reply, count: int) -> Page | None:
    """The page of so many entries behind a cursor, from a reply of one more that begin at it; None where what comes
    does not follow it."""
    after = _after(cursor, anchored, count)
    if not after:
        return Page([]) if anchored else None
    entries = following(cursor, after)
    if not entries:
        return None
    return Page(entries, more=len(anchored) > count or len(entries) < len(after))


def _after(cursor: EventId, anchored: Reply, count: int) -> Reply:
    return anchored[1:] if anchored and anchored[0][0] == b"%d-%d" % cursor else anchored[:count]
