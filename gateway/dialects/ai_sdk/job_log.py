"""What a stream has to know of a job's log before it begins: its takeovers, and how many chunks there are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

import orjson
from holdfast.gateway.dialects.translation import Translation
from holdfast.shared.ids import parse_id
from holdfast.shared.job_record import JobState
from holdfast.shared.log.discards import Discard
from holdfast.shared.log.entries import Entry, kinds_of
from holdfast.shared.log.event_log import PAGE_EVENTS, EventLog
from holdfast.shared.log.events import MALFORMED, STARTED


async def takeovers(log: EventLog, job: JobState) -> tuple[Discard, ...]:
    """Return each takeover of the job. The record of a job has them merged, so they are read from its log.

    Raises RedisError, SchemaNewer."""
    if job.attempt < 2:
        return ()
    found: list[Discard] = []
    async for entries in _pages(log, job):
        if STARTED in kinds_of(entries):
            found += [discard for entry in entries if (discard := _discard(entry, job.job_id)) is not None]
    return tuple(found)


async def count_chunks(log: EventLog, job: JobState, translation: Translation) -> int:
    """Return how many chunks the job's log has become so far. Raises RedisError, SchemaNewer."""
    count, state = len(translation.opening), translation.initial
    async for entries in _pages(log, job):
        for entry in entries:
            if entry.job_id == job.job_id:
                chunks, state = translation.translate(state, entry)
                count += len(chunks)
    return count


async def _pages(log: EventLog, job: JobState) -> AsyncIterator[Sequence[Entry]]:
    """Read the entries of the session from the job's first to its last one, in pages."""
    if job.first is None:
        return
    first, last = job.first, job.end or await log.top(job.session_id)
    while True:
        page = await log.between(job.session_id, first, last, PAGE_EVENTS)
        yield page.entries
        if page.first is None:
            return
        first = page.first


def _discard(entry: Entry, job_id: str) -> Discard | None:
    if entry.kind != STARTED or entry.job_id != job_id:
        return None
    with suppress(*MALFORMED):  # an entry that no worker wrote
        body: Any = orjson.loads(entry.body)
        if "discard_from" in body:
            return Discard(job_id, parse_id(body["discard_from"]), entry.id)
    return None
