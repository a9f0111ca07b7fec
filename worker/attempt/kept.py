"""Read the kept events of a job's earlier attempts, which are not discarded, from the log."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from functools import partial
from typing import NamedTuple

from holdfast.shared.errors import HoldfastError
from holdfast.shared.ids import EventId
from holdfast.shared.log.discards import Discard, Discards
from holdfast.shared.log.entries import Entry, delta_of
from holdfast.shared.log.event_log import EventLog
from holdfast.shared.log.events import parse_event
from holdfast.worker.process.outage import Outage

PAGE_EVENTS = 256


class IdRange(NamedTuple):
    """The ids of an epoch from `first` to `last`, both included."""

    first: EventId
    last: EventId


class EventsMissing(HoldfastError):
    """Events of the job that count were trimmed."""

    code = "events_missing"


class KeptEvents:
    """The events that a job's agent emitted after the job's `first` event and below `until`, without discarded ones.

    All methods wait while Redis is unavailable."""

    def __init__(
        self,
        log: EventLog,
        outage: Outage,
        session_id: str,
        job_id: str,
        *,
        first: EventId,
        until: EventId,
        discards: Iterable[Discard],
    ) -> None:
        self._log = log
        self._outage = outage
        self._session_id = session_id
        self._job_id = job_id
        self.first = first
        self.until = until
        self._discards = Discards()
        for discard in discards:
            self._discards.add(*discard)

    def __bool__(self) -> bool:
        return self.first < self.until

    def discard(self, first: EventId, started: EventId) -> None:
        """Record that this attempt discarded the kept events from an id on."""
        self._discards.add(self._job_id, first, started)

    def counts(self, event_id: EventId) -> bool:
        """Return whether an event of an earlier attempt was not discarded."""
        return not self._discards.covers(self._job_id, event_id)

    def split(self, ranges: Iterable[IdRange]) -> tuple[list[IdRange], list[IdRange]]:
        """Split ranges into the parts that count and those that were discarded."""
        kept: list[IdRange] = []
        lost: list[IdRange] = []
        for ids in ranges:
            for part in self._discards.parts(self._job_id, *ids):
                (kept if self.counts(part[0]) else lost).append(IdRange(*part))
        return kept, lost

    async def walk(self, start: EventId, end: EventId) -> AsyncIterator[Entry]:
        """Iterate over the events that count from `start` on and below `end`."""
        reader = KeptReader(self)
        while not reader.over:
            for entry in await reader.read():
                if start <= entry.id < end:
                    yield entry

    async def between(self, ranges: Iterable[IdRange]) -> AsyncIterator[Entry]:
        """Iterate over the job's events in these ranges that the log has, including discarded ones.

        Raises EventsMissing at the end where some are missing."""
        missing = 0
        for ids in ranges:
            missing += ids.last.seq - ids.first.seq + 1
            first: EventId | None = ids.first
            while first is not None:
                read = partial(self._log.between, self._session_id, first, ids.last, PAGE_EVENTS)
                entries, first = await self._outage.retry_until_available(read)
                missing -= len(entries)
                for entry in self._own(entries):
                    yield entry
        if missing > 0:
            raise EventsMissing

    async def run_start(self, event_id: EventId) -> EventId:
        """Return the first of the deltas that may have been merged with this one for a viewer, else the event
        itself."""
        start, later = event_id, None
        below: EventId | None = event_id.next()
        while below is not None:
            read = partial(self._log.backwards, self._session_id, self.first, below, PAGE_EVENTS)
            entries, below = await self._outage.retry_until_available(read)
            for entry in reversed([entry for entry in entries if entry.job_id == self._job_id]):
                delta = delta_of(entry)
                if delta is None or (later is not None and not later.continues(delta)):
                    return start
                start, later = entry.id, delta
        return start

    async def after(self, cursor: EventId) -> tuple[Sequence[Entry], EventId, bool]:
        """Read the next page after a cursor: its events that count, the next cursor, and whether there is more.

        Raises EventsMissing."""
        page = await self._outage.retry_until_available(partial(self._log.read, self._session_id, cursor, PAGE_EVENTS))
        if page.gap is not None and page.gap.foreign is None:
            raise EventsMissing
        if page.gap is not None:
            return [], page.gap.resume, True
        if not page.entries:
            return [], cursor, page.more
        own = [entry for entry in self._own(page.entries) if entry.id < self.until and self.counts(entry.id)]
        last = page.entries[-1].id
        return own, last, page.more and last < self.until

    def _own(self, entries: Iterable[Entry]) -> list[Entry]:
        """Return the agent's events among them, without malformed ones, which a worker cannot have written."""
        own = (entry for entry in entries if entry.job_id == self._job_id and not entry.kind.startswith("job."))
        return [entry for entry in own if parse_event(entry.kind, entry.body) is not None]


class KeptReader:
    """Reads the events that count, page by page, from the job's first event on. A cancelled read may be repeated."""

    def __init__(self, kept: KeptEvents) -> None:
        self._kept = kept
        self._cursor = kept.first
        self.begun = False
        self.over = not kept

    async def read(self) -> Sequence[Entry]:
        """Read the next page. Raises EventsMissing."""
        entries, self._cursor, more = await self._kept.after(self._cursor)
        self.begun, self.over = True, not more
        return entries
