"""Outputs are read once, in parts, while clients poll."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from holdfast.gateway.dialects.openai.job_output import CONCURRENT_READS, JobOutputs
from holdfast.gateway.dialects.openai.response_object import head_of
from holdfast.gateway.dialects.openai.responses import ResponseTranslation
from holdfast.gateway.errors import EventsTrimmed
from holdfast.shared.ids import EventId
from holdfast.shared.job_record import JobState
from holdfast.shared.log.entries import Entry
from holdfast.shared.log.event_log import Gap, Page

from tests.unit.gateway.dialects.openai.records import EPOCH, record

JOB = record()
TRANSLATION = ResponseTranslation(head_of(JOB))


def entry(seq: int, kind: str, **fields: Any) -> Entry:
    body = orjson.dumps({"type": kind, **fields})
    return Entry(EventId(EPOCH, seq), kind, "j1", body, None)


def word(seq: int, text: str) -> Entry:
    return entry(seq, "text.delta", text=text, part=0)


class Log:
    """A log with these entries, and the cursors that it was read from. `gap`: at the next read."""

    def __init__(self, *entries: Entry) -> None:
        self.entries = list(entries)
        self.cursors: list[int] = []
        self.gap: Gap | None = None
        self.concurrent = self.most = 0

    async def read(self, session_id: str, cursor: EventId, count: int) -> Page:
        self.cursors.append(cursor.seq)
        self.concurrent += 1
        self.most = max(self.most, self.concurrent)
        await asyncio.sleep(0)
        self.concurrent -= 1
        gap, self.gap = self.gap, None
        return Page([], gap) if gap else Page([one for one in self.entries if one.id > cursor])


async def read(outputs: JobOutputs, log: Log, job: JobState = JOB) -> str:
    given: Any = log
    return (await outputs.read(given, job, TRANSLATION)).text("message")


async def test_a_poll_continues_where_the_last_one_ended() -> None:
    log, outputs = Log(entry(1, "job.started"), word(2, "a ")), JobOutputs()
    assert await read(outputs, log) == "a "
    log.entries += [word(3, "b "), entry(4, "job.completed")]
    assert await read(outputs, log) == "a b "
    assert log.cursors == [0, 2]


async def test_a_poll_whose_place_is_gone_begins_anew() -> None:
    log, outputs = Log(entry(1, "job.started"), word(2, "a ")), JobOutputs()
    await read(outputs, log)
    log.entries[1:] = [word(3, "b ")]
    log.gap = Gap("lost", EventId(EPOCH, 1))
    assert await read(outputs, log) == "b "


async def test_outputs_are_read_a_few_at_a_time() -> None:
    log, outputs = Log(entry(1, "job.started"), word(2, "a ")), JobOutputs()
    await asyncio.gather(*(read(outputs, log, record(job_id=f"j{number}")) for number in range(20)))
    assert log.most == CONCURRENT_READS


async def test_only_a_trimmed_beginning_is_a_trimmed_response() -> None:
    log: Any = Log()
    log.gap = Gap("trimmed", EventId(EPOCH, 5))
    with pytest.raises(EventsTrimmed):
        await JobOutputs().read(log, JOB, TRANSLATION)
    log.gap = Gap("lost", EventId(EPOCH, 5))
    lost = await JobOutputs().read(log, JOB, TRANSLATION)
    assert lost.status == "failed"
    assert lost.ending is not None
    assert lost.ending["error"]["code"] == "log_lost"


async def test_an_end_that_the_log_has_lost_is_that_of_the_record() -> None:
    ended = record(end=EventId(EPOCH, 3), end_body=b'{"type":"job.completed"}')
    log: Any = Log(entry(1, "job.started"), word(2, "a "))
    assert (await JobOutputs().read(log, ended, TRANSLATION)).status == "completed"
