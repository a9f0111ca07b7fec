"""The record of a job: its fields in the hash of its session's jobs, and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, TypeVar

import orjson
from holdfast.shared.budget import read_amounts
from holdfast.shared.ids import EventId, parse_id
from holdfast.shared.trace_context import trace_id_of

# All fields that a record may have; the scripts name them, and submit.lua deletes them with the record.
FIELDS = (
    *("agent", "input", "options", "metadata", "timeout_s", "budget", "key"),  # as submitted
    *("status", "created_at", "started_at", "ended_at", "end", "end_body", "usage", "spent"),
    *("attempt", "delivery", "strikes", "struck", "open", "worker"),  # deliveries and attempts
    *("before", "first", "started", "discards", "resume"),  # ids in the log
    *("cancel", "cancel_at", "overtakes"),  # intents
    *("question", "schema", "prompt", "asked_at", "answered"),
    "webhook",
    "traceparent",
    "after",  # the job that it follows
    "models",
    "client",  # what the page sent with it
)

# Each is a prefix of the next: `job_of` reads the fields by position.
HEADLINE = ("agent", "status", "attempt", "worker", "created_at", "started_at", "ended_at")
SUMMARY = (
    *HEADLINE,
    *("usage", "before", "first", "started", "end", "end_body", "question", "prompt", "schema"),
)
RECORD = (*SUMMARY, "metadata", "answered", "budget", "spent", "traceparent", "after")


# The fields with content, which are encrypted.
SEALED = ("input", "options", "metadata", "webhook", "models", "client", "prompt", "schema", "end_body")

# Places of encrypted values that belong to a session as a whole, see shared.sealing.
MESSAGE, TITLE = "message", "title"

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class JobState:
    """A job's record. Times are in ms since 1970.

    Event ids: `first` is the job's first event, `before` its predecessor, `started` the start of the latest attempt,
    and `end` the terminal event, whose JSON is `end_body`. `question`: the open one (`question_id`, `prompt`,
    `schema`). `answered`: the ids of those that have an answer.
    `traceparent`: of the span that submitted it; empty without one.
    `after`: the job that it follows; None if it follows none, or where it was not read.
    `budget`: its `limits` and what all attempts have `used`, by name; None without limits."""

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
    answered: tuple[str, ...] = ()
    budget: dict[str, Any] | None = None
    traceparent: str = ""
    after: str | None = None

    @property
    def trace_id(self) -> str | None:
        """The id of its trace."""
        return trace_id_of(self.traceparent)

    @property
    def ending(self) -> dict[str, Any]:
        """The terminal event; empty until the job has ended."""
        return orjson.loads(self.end_body) if self.end_body else {}


def placed(job_id: str, fields: Mapping[str, Value], status: str = "") -> list[tuple[str, Value]]:
    """Return fields of a record with their places, see shared.sealing. `end_body` is the job's terminal event, whose
    type follows from the `status`."""
    return [
        (f"{job_id} job.{status}" if name == "end_body" else f"{job_id} {name}", value)
        for name, value in fields.items()
    ]


def permitted(job_id: str, agent: str, models: bytes) -> tuple[str, bytes]:
    """Return the models that the job's tenant may use with their place, which names the job's agent, too: neither can
    be exchanged. Where encryption is on, a job without limits has an encrypted empty value."""
    return f"{job_id} models of {agent}", models


def journaled(job_id: str, fields: Mapping[str, Value]) -> list[tuple[str, Value]]:
    """Return fields of the journal of a job, `step:<key>` and `question:<id>`, with their places."""
    return [(f"{job_id} {name}", value) for name, value in fields.items()]


def job_of(session_id: str, record: Sequence[Any], top: EventId) -> JobState:
    """Build a job from its id, its position in the backlog and a prefix of its fields."""
    job_id, position, *found = record
    values = dict(zip_longest(RECORD, found))

    def read(name: str, parse: Callable[[bytes], Value]) -> Value | None:
        value = values[name]
        return None if value is None else parse(value)

    question = None
    if values["question"] is not None:
        prompt, schema = read("prompt", orjson.loads), read("schema", orjson.loads)
        question = {"question_id": read("question", bytes.decode), "prompt": prompt, "schema": schema}
    return JobState(
        session_id=session_id,
        job_id=job_id.decode(),
        agent=read("agent", bytes.decode) or "",
        status=read("status", bytes.decode) or "",
        attempt=read("attempt", int) or 0,
        worker=read("worker", bytes.decode),
        position=position,
        created_at=read("created_at", int) or 0,
        started_at=read("started_at", int),
        ended_at=read("ended_at", int),
        metadata=read("metadata", orjson.loads),
        usage=read("usage", orjson.loads),
        cursor=read("end", parse_id) or top,
        before=read("before", parse_id),
        first=read("first", parse_id),
        started=read("started", parse_id),
        end=read("end", parse_id),
        end_body=values["end_body"],
        question=question,
        answered=tuple((values["answered"] or b"").decode().split()),
        budget=_budget(values["budget"], values["spent"]),
        traceparent=(values["traceparent"] or b"").decode(),
        after=(values["after"] or b"").decode() or None,
    )


def _budget(limits: bytes | None, spent: bytes | None) -> dict[str, Any] | None:
    if not limits:
        return None
    known, used = read_amounts(limits), read_amounts(spent)
    return {"limits": known, "used": {name: used.get(name, 0) for name in known}}
