"""Job records for tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from holdfast.shared.ids import EventId
from holdfast.shared.job_record import JobState

EPOCH = 1763683200123

_JOB = JobState(
    session_id="s1",
    job_id="j1",
    agent="writer",
    status="running",
    attempt=1,
    worker="w1",
    position=0,
    created_at=EPOCH,
    started_at=EPOCH,
    ended_at=None,
    metadata=None,
    usage=None,
    cursor=EventId(EPOCH, 1),
    before=EventId(EPOCH, 0),
    first=EventId(EPOCH, 1),
    started=EventId(EPOCH, 1),
    end=None,
    end_body=None,
    question=None,
)


def record(**fields: Any) -> JobState:
    """Return the record of a running job, with these fields changed."""
    return replace(_JOB, **fields)
