"""The record of a job: its fields in the hash of its session's jobs, and how they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import orjson
from holdfast.shared.ids import EventId, parse_id

# All fields that a record may have; the scripts name them, and submit.lua deletes them with the record.
FIELDS = (
    *("agent", "input", "options", "metadata", "timeout_s", "key"),  # as submitted
    *("status", "created_at", "started_at", "ended_at", "end", "end_body", "usage"),
    *("attempt", "delivery", "strikes", "open", "worker"),  # deliveries and attempts
    *("before", "first", "started", "discards", "resume"),  # ids in the log
    *("cancel", "cancel_at", "overtakes"),  # intents
    *("question", "schema", "prompt", "asked_at", "answered"),
)

# Each is a prefix of the next: `job_of` reads the fields by position.
HEADLINE = ("agent", "status", "attempt", "worker", "created_at", "started_at", "ended_at")
SUMMARY = (
    *HEADLINE,
    *("usage", "before", "first", "started", "end", "end_body", "question", "prompt", "schema"),
)
RECORD = (*SUMMARY, "metadata")


@dataclass(frozen=True, slots=True)
class JobState:
    """A job's record. Times are in ms since 1970.

    Event ids: `first` is the job's first event, `before` its predecessor, `started` the start of the latest attempt,
    and `end` the terminal event, whose JSON is `end_body`. `question`: the open one (`question_id`, `prompt`,
    `schema`)."""

    session_id: str
    job_id: str
    agent: str
    status: str
    attempt: int
    worker: str | None
    position: int | None
    created_at: int
    started_at: int | None
    ended_at: int | None
    metadata: Any
    usage: Any
    cursor: EventId
    before: EventId | None
    first: EventId | None
    started: EventId | None
    end: EventId | None
    end_body: bytes | None
    question: dict[str, Any] | None

    @property
    def ending(self) -> dict[str, Any]:
        """The terminal event; empty until the job has ended."""
        return orjson.loads(self.end_body) if self.end_body else {}


def job_of(session_id: str, record: Sequence[Any], top: EventId) -> JobState:
    """Build a job from its id, its position in the backlog and a prefix of its fields."""
    job_id, position, *found = record
    values = dict(zip_longest(RECORD, found))

    def text(name: str) -> str | None:
        value = values[name]
        return None if value is None else value.decode()

    def number(name: str) -> int | None:
        value = values[name]
        return None if value is None else int(value)

    def event_id(name: str) -> EventId | None:
        value = values[name]
        return None if value is None else parse_id(value)

    def json(name: str) -> Any:
        value = values[name]
        return None if value is None else orjson.loads(value)

    question = None
    if values["question"] is not None:
        question = {"question_id": text("question"), "prompt": json("prompt"), "schema": json("schema")}
    return JobState(
        session_id=session_id,
        job_id=job_id.decode(),
        agent=text("agent") or "",
        status=text("status") or "",
        attempt=number("attempt") or 0,
        worker=text("worker"),
        position=position,
        created_at=number("created_at") or 0,
        started_at=number("started_at"),
        ended_at=number("ended_at"),
        metadata=json("metadata"),
        usage=json("usage"),
        cursor=event_id("end") or top,
        before=event_id("before"),
        first=event_id("first"),
        started=event_id("started"),
        end=event_id("end"),
        end_body=values["end_body"],
        question=question,
    )
