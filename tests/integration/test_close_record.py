"""Ending a job in its record alone, where its log cannot be written."""

from __future__ import annotations

import orjson
import pytest
from holdfast.shared.errors import Fenced
from holdfast.shared.log.log_replies import Event, Head, Refusal

from tests.support.log import Session

END = Event("job.failed", "j1", orjson.dumps({"type": "job.failed", "job_id": "j1", "error": {"code": "log_error"}}))


async def test_a_closed_job_is_over_for_its_attempt_and_the_next_one_begins_behind_its_end(session: Session) -> None:
    attempt = await session.started()
    await session.submit("j2")
    closed = await session.log_writer.close_record("s", END, attempt.epoch)
    assert closed == Refusal("ended", head=Head("j2", "scripted"))
    job = await session.sessions.job("s", "j1")
    assert (job.status, job.ending["error"]["code"]) == ("failed", "log_error")
    with pytest.raises(Fenced):
        await session.append(attempt, 1, "a")
    await session.claim("j2")
    *_, start = await session.redis.xrange(session.keys.log)
    assert start[1][b"p"].decode() == str(job.end)


async def test_closing_again_answers_the_same(session: Session) -> None:
    attempt = await session.started()
    first = await session.log_writer.close_record("s", END, attempt.epoch)
    assert await session.log_writer.close_record("s", END, attempt.epoch) == first


async def test_a_job_that_nobody_could_claim_is_closed_without_an_attempt(session: Session) -> None:
    await session.submit()
    assert (await session.log_writer.close_record("s", END)).verdict == "ended"
    assert (await session.sessions.job("s", "j1")).status == "failed"


async def test_a_job_that_runs_is_left_to_its_attempt(session: Session) -> None:
    await session.started()
    assert (await session.log_writer.close_record("s", END)).verdict == "held"
    assert (await session.sessions.job("s", "j1")).status == "running"


async def test_an_attempt_that_lost_the_session_closes_nothing(session: Session) -> None:
    attempt = await session.started()
    await session.claim(delivery=2)
    with pytest.raises(Fenced):
        await session.log_writer.close_record("s", END, attempt.epoch)
    assert (await session.sessions.job("s", "j1")).status == "running"


async def test_a_job_that_is_unknown_is_not_made(session: Session) -> None:
    assert (await session.log_writer.close_record("s", END)).verdict == "unknown"
    assert await session.redis.keys("*") == []
