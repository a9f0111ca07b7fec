"""Read a session's log. Reads are anchored: a page begins with the cursor or its direct successor, or has a gap."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import structlog
from holdfast.shared.errors import DataKeyGone
from holdfast.shared.ids import ORIGIN, EventId, parse_id
from holdfast.shared.job_record import journaled
from holdfast.shared.keys import log_key, session_keys, state_key
from holdfast.shared.log.discards import Discard, ranges_of
from holdfast.shared.log.entries import Entry, chained, entries_of, entry_of, following, foreign_lead, own_entries
from holdfast.shared.redis.auto_pipeline import AutoPipeline
from holdfast.shared.redis.client import Redis
from holdfast.shared.redis.cluster_client import ClusterPipeline
from holdfast.shared.redis.connection import Argument
from holdfast.shared.redis.errors import RedisError
from holdfast.shared.redis.log_connections import LogConnections
from holdfast.shared.schema import check_schema
from holdfast.shared.telemetry import Once

__all__ = ["PAGE_EVENTS", "Entry", "EventLog", "Gap", "Page", "chained", "entry_of"]

log = structlog.get_logger()

PAGE_EVENTS = 1000
LAST_ENTRIES = 10

Reply = Sequence[Sequence[Any]]
Part = tuple[Sequence[Entry], EventId | None]
Presence = Literal["there", "deleting", "absent"]


@dataclass(frozen=True, slots=True)
class Gap:
    """Missing events. `position`: the cursor from which a client continues. Where a foreign entry caused the gap,
    `foreign` is its id, and reading continues after it."""

    reason: Literal["trimmed", "lost", "expired"]
    position: EventId
    foreign: EventId | None = None

    @property
    def resume(self) -> EventId:
        """The id from which reading continues."""
        return self.position if self.foreign is None else self.foreign


@dataclass(frozen=True, slots=True)
class Page:
    """The entries directly after a cursor, oldest first.

    After a `trimmed` gap they begin with the oldest entry of the log. With any other gap there are none: read again
    from its `resume`. `more`: the log has further entries."""

    entries: Sequence[Entry]
    gap: Gap | None = None
    more: bool = False


class EventLog:
    """Reads the logs of all sessions. `pipelined`: over the pipeline of their server."""

    def __init__(self, connections: LogConnections, *, pipelined: bool = False) -> None:
        self._connections = connections
        self._keyring = connections.keyring
        self._pipelined = pipelined
        self._reported = Once()

    async def read(self, session_id: str, cursor: EventId, count: int = PAGE_EVENTS) -> Page:
        """Read the entries after the cursor.

        Raises RedisError when the server does not answer, SchemaNewer when the next entry has a newer schema
        version, and the errors of shared.keyring."""
        anchored = await self._call(session_id, *page_question(session_id, cursor, count))
        if self._keyring.on:
            anchored = await self._keyring.opened_entries(session_id, anchored, b"%d-%d" % cursor)
        return await self._page(session_id, cursor, count, anchored)

    async def read_with_presence(self, session_id: str, cursor: EventId, count: int) -> tuple[Page, Presence]:
        """Read a page as `read` does, and then whether the session exists. Both commands are sent in one write."""
        questions = page_question(session_id, cursor, count), question(session_id)
        anchored, fields = await self._server(session_id).call_all(questions)
        for reply in (anchored, fields):
            if isinstance(reply, RedisError):
                raise reply
        found_as = presence(*fields)
        if self._keyring.on:
            anchored = await self._keyring.opened_entries(session_id, anchored, b"%d-%d" % cursor)
        return await self._page(session_id, cursor, count, anchored), found_as

    async def backwards(self, session_id: str, first: EventId, below: EventId | None, count: int) -> Part:
        """Read the newest entries from `first` on and below `below`, or up to the end. Skips holes and foreign
        entries. Returns them, oldest first, and the `below` of the next page; None on the last one."""
        end = "+" if below is None else f"({below}"
        found = await self._call(session_id, "XREVRANGE", log_key(session_id), end, str(first), "COUNT", count)
        entries = own_entries(await self._keyring.opened_entries(session_id, found[::-1]))
        return entries, parse_id(found[-1][0]) if len(found) == count else None

    async def last(self, session_id: str) -> Entry | None:
        """Return the newest entry that is not foreign, and whose data key is there."""
        below = "+"
        key = log_key(session_id)
        while found := await self._call(session_id, "XREVRANGE", key, below, "-", "COUNT", LAST_ENTRIES):
            found.reverse()
            with suppress(DataKeyGone):
                found = await self._keyring.opened_entries(session_id, found)
            entries = own_entries(found)
            if entries:
                return entries[-1]
            below = f"({found[0][0].decode()}"
        return None

    async def top(self, session_id: str) -> EventId:
        """Return the id of the newest entry, foreign ones included; ORIGIN where the log is empty."""
        found = await self._call(session_id, "XREVRANGE", log_key(session_id), "+", "-", "COUNT", 1)
        return parse_id(found[0][0]) if found else ORIGIN

    async def presence(self, session_id: str) -> Presence:
        """Return whether the session exists, or is being deleted."""
        return presence(*await self._call(session_id, *question(session_id)))

    async def discards(self, session_id: str, job_id: str | None = None) -> list[Discard]:
        """Return what later attempts discarded, of one job or of all."""
        keys = session_keys(session_id)
        found = [] if job_id else await self._call(session_id, "LRANGE", keys.order, 0, -1)
        jobs = [job_id] if job_id else [job.decode() for job in found]
        if not jobs:
            return []
        fields = [f"{job}:{field}" for job in jobs for field in ("first", "started", "discards")]
        values = await self._call(session_id, "HMGET", keys.jobs, *fields)
        records = zip(jobs, values[::3], values[1::3], values[2::3], strict=True)
        return [discard for record in records for discard in _discards_of(*record)]

    async def between(self, session_id: str, first: EventId, last: EventId, count: int) -> Part:
        """Read the oldest entries from `first` to `last`, both included. Skips holes and foreign entries. Returns them,
        and the `first` of the next page; None on the last one."""
        found = await self._call(session_id, "XRANGE", log_key(session_id), str(first), str(last), "COUNT", count)
        entries = own_entries(await self._keyring.opened_entries(session_id, found))
        return entries, parse_id(found[-1][0]).next() if len(found) == count else None

    async def answer(self, session_id: str, job_id: str, question_id: str) -> bytes | None:
        """Return the recorded answer to a question of the session's running job, as JSON; None if there is none."""
        field = f"question:{question_id}"
        found: bytes | None = await self._call(session_id, "HGET", session_keys(session_id).journal, field)
        return (await self._keyring.opened(session_id, journaled(job_id, {field: found})))[0]

    def _call(self, session_id: str, *command: Argument) -> Awaitable[Any]:
        return self._server(session_id).call(*command)

    def _server(self, session_id: str) -> Redis | AutoPipeline | ClusterPipeline:
        connection = self._connections.connection_for(session_id)
        return connection.pipeline if self._pipelined else connection.redis

    async def _page(self, session_id: str, cursor: EventId, count: int, anchored: Reply) -> Page:
        page = page_behind(cursor, anchored, count)
        if page is not None:
            return page
        return await self._gap(session_id, cursor, _after(cursor, anchored, count), more=len(anchored) > count)

    async def _gap(self, session_id: str, cursor: EventId, later: Reply, *, more: bool) -> Page:
        below = await self._newest_upto(session_id, cursor)
        if below not in (ORIGIN, cursor):
            return Page([], Gap("lost", below))
        if not self._keyring.on:  # foreign entries may be encrypted ones, which this process cannot read
            later = await self._keyring.opened_entries(session_id, later)
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
        """Read an empty log: it vanished, or it never had an event."""
        recorded = await self._call(session_id, "HGET", state_key(session_id), "top")
        if cursor == ORIGIN and (recorded is None or parse_id(recorded) == ORIGIN):
            return Page([])
        if await self._call(session_id, "XLEN", log_key(session_id)):  # appended between the two reads
            return Page([], more=True)
        return Page([], Gap("expired", ORIGIN))

    def _report(self, session_id: str, cursor: EventId, last: EventId, count: int) -> None:
        """Log foreign entries once, although every reader finds them.

        A run of many is found page by page: the next page begins after the `last` of the one before."""
        if self._reported.add((session_id, cursor), (session_id, last)):
            log.warning(
                "foreign entries in a log: its viewers get a gap", session_id=session_id, last=str(last), entries=count
            )

    async def _newest_upto(self, session_id: str, cursor: EventId) -> EventId:
        found = await self._call(session_id, "XREVRANGE", log_key(session_id), str(cursor), "-", "COUNT", 1)
        return parse_id(found[0][0]) if found else ORIGIN


def _discards_of(job_id: str, first: bytes | None, started: bytes | None, discards: bytes | None) -> list[Discard]:
    """Parse the discards in a job's record. `started` is written by workers of schema 0, whose attempts discard
    everything from the job's first event on."""
    found = [Discard(job_id, *ids) for ids in ranges_of((discards or b"").decode())]
    if first and started and first != started:
        found.append(Discard(job_id, parse_id(first), parse_id(started)))
    return found


def page_question(session_id: str, cursor: EventId, count: int) -> Sequence[Argument]:
    """Return the command that reads `count` entries after a cursor; `page_behind` parses its reply."""
    return "XRANGE", log_key(session_id), str(cursor), "+", "COUNT", count + 1


def question(session_id: str) -> Sequence[Argument]:
    """Return the command that reads whether a session exists; `presence` parses its reply."""
    return "HMGET", state_key(session_id), "created", "deleted", "schema"


def presence(created: bytes | None, deleted: bytes | None, schema: bytes | None) -> Presence:
    """Parse the reply to `question`. From the 202 of a deletion until a worker carries it out it is `deleting`.

    Raises SchemaNewer for a session with a newer schema version."""
    check_schema(schema, "The session")
    if created is None:
        return "absent"
    return "deleting" if deleted else "there"


def page_behind(cursor: EventId, anchored: Reply, count: int) -> Page | None:
    """Build the page of `count` entries after a cursor from a reply of at most `count + 1` that begins at the cursor.

    Returns None where the reply does not follow the cursor."""
    after = _after(cursor, anchored, count)
    if not after:
        return Page([]) if anchored else None
    entries = following(cursor, after)
    if not entries:
        return None
    return Page(entries, more=len(anchored) > count or len(entries) < len(after))


def _after(cursor: EventId, anchored: Reply, count: int) -> Reply:
    return anchored[1:] if anchored and anchored[0][0] == b"%d-%d" % cursor else anchored[:count]
