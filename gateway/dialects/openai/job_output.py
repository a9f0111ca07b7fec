"""Reads what a job has put out so far."""

from __future__ import annotations

import asyncio

import orjson
from holdfast.gateway.dialects.openai.output import Output
from holdfast.gateway.dialects.openai.responses import ResponseTranslation
from holdfast.gateway.errors import EventsTrimmed
from holdfast.gateway.stream.batch import concerns
from holdfast.shared.ids import EventId
from holdfast.shared.job_record import JobState
from holdfast.shared.log.entries import Entry
from holdfast.shared.log.event_log import EventLog, Page

PAGE_EVENTS = 100  # 25 MiB of the largest events


async def read_output(log: EventLog, job: JobState, translation: ResponseTranslation) -> Output:
    """Translate the log of a job from its first event to its end, or to the end of the log.

    Linear in the job's events; other tasks run after each page. Raises EventsTrimmed, RedisError."""
    output, cursor = translation.initial, job.before
    while cursor is not None and not output.ended:
        page = await log.read(job.session_id, cursor, PAGE_EVENTS)
        if page.gap is not None and page.gap.foreign is None:
            raise EventsTrimmed
        for entry in page.entries:
            if concerns(entry, job.job_id):
                output = translation.output_after(output, entry)
        cursor = _next(page)
        await asyncio.sleep(0)
    if job.end is not None and job.end_body is not None and not output.ended:  # the log has lost the end
        ending = Entry(job.end, orjson.loads(job.end_body)["type"], job.job_id, job.end_body, None)
        output = translation.output_after(output, ending)
    return output


def _next(page: Page) -> EventId | None:
    """Return where the next page begins; None on the last one."""
    if page.gap is not None:
        return page.gap.resume
    return page.entries[-1].id if page.more and page.entries else None
