"""Reads the output of jobs from their logs."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from weakref import WeakKeyDictionary, WeakValueDictionary

import orjson
from holdfast.gateway.dialects.openai.output import Output
from holdfast.gateway.dialects.openai.responses import ResponseTranslation, lost_output
from holdfast.gateway.errors import EventsTrimmed
from holdfast.gateway.stream.batch import concerns, size_of
from holdfast.shared.ids import EventId
from holdfast.shared.job_record import JobState
from holdfast.shared.log.entries import Entry
from holdfast.shared.log.event_log import EventLog, Page

PAGE_EVENTS = 100  # 25 MiB of the largest events
CONCURRENT_READS = 4
REMEMBERED = 8  # each takes up to 20 MB
EVENT_BYTES = 200  # what an event counts besides its body, since small ones take time too


class ReadTooLarge(Exception):
    """A request reads more of logs than it may."""


class ReadLimit:
    """Limits what one request reads of logs. `left`: bytes of events, each with EVENT_BYTES besides its body."""

    def __init__(self, left: int) -> None:
        self._left = left

    def count(self, entries: Sequence[Entry]) -> None:
        """Count entries that were read. Raises ReadTooLarge."""
        self._left -= size_of(entries) + EVENT_BYTES * len(entries)
        if self._left < 0:
            raise ReadTooLarge


class JobOutputs:
    """Reads the outputs of jobs, a few at a time.

    A client polls a response until its job has ended, so reading continues from the output that was read last."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(CONCURRENT_READS)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._known: OrderedDict[tuple[str, str], tuple[EventId, Output]] = OrderedDict()

    def turn(self, tenant: str) -> asyncio.Lock:
        """Return the lock of a tenant's requests that read many outputs: one at a time, so that slots are left."""
        return self._turns.setdefault(tenant, asyncio.Lock())

    async def read(
        self, log: EventLog, job: JobState, translation: ResponseTranslation, limit: ReadLimit | None = None
    ) -> Output:
        """Translate the log of a job from its first event to its end, or to the end of the log.

        Other tasks run after each page. The output is a failed one if events are missing. Raises EventsTrimmed if those
        are the first ones, ReadTooLarge, and RedisError."""
        output = translation.initial
        if job.before is not None:
            async with self._slots:
                output = await self._read(log, job, translation, job.before, limit)
        if job.end is None or job.end_body is None or output.ended:
            return output
        ending = Entry(job.end, orjson.loads(job.end_body)["type"], job.job_id, job.end_body, None)  # lost in the log
        return translation.advance(output, ending)[1]

    async def _read(
        self, log: EventLog, job: JobState, translation: ResponseTranslation, start: EventId, limit: ReadLimit | None
    ) -> Output:
        key = job.session_id, job.job_id
        known = self._known.pop(key, None)
        cursor, output = known or (start, translation.initial)
        more = True
        while more and not output.ended:
            page = await log.read(job.session_id, cursor, PAGE_EVENTS)
            if limit is not None:
                limit.count(page.entries)
            gap = page.gap
            if gap is not None and gap.foreign is None:
                if known is not None:
                    return await self._read(log, job, translation, start, limit)
                if gap.reason == "trimmed" and cursor == start:
                    raise EventsTrimmed
                return lost_output(output)
            for entry in (entry for entry in page.entries if concerns(entry, job.job_id)):
                output = translation.advance(output, entry)[1]
            cursor, more = _after(page, cursor)
            await asyncio.sleep(0)
        self._remember(key, cursor, output)
        return output

    def _remember(self, key: tuple[str, str], cursor: EventId, output: Output) -> None:
        if not output.ended:
            self._known[key] = cursor, output
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)


def _after(page: Page, cursor: EventId) -> tuple[EventId, bool]:
    """Return where the next page begins, and whether there is one."""
    if page.gap is not None:
        return page.gap.resume, True
    return (page.entries[-1].id if page.entries else cursor), page.more


_OUTPUTS: WeakKeyDictionary[EventLog, JobOutputs] = WeakKeyDictionary()


def outputs_of(log: EventLog) -> JobOutputs:
    """Return the outputs of the jobs in a log: one object for each gateway in the process."""
    found = _OUTPUTS.get(log)
    if found is None:
        found = _OUTPUTS[log] = JobOutputs()
    return found
