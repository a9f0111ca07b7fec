"""What a log returns to its writers."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from holdfast.shared.errors import Fenced, HoldfastError, LogFull, LogGone
from holdfast.shared.ids import EventId, parse_id
from holdfast.shared.log.entries import name_of
from holdfast.shared.redis.auto_pipeline import PipelinedConnection
from holdfast.shared.redis.errors import ResponseError, is_full

PERMIT_SECONDS = 1.0
RENEWAL_SECONDS = 0.8  # renew a permit of this age, so that it is still valid for the next event of a stream
CHECK_SECONDS = 5.0  # renew for at most so long: the append script also trims the log and updates `top` in the state


class LogBehind(HoldfastError):
    """The log lost its tail and ends at `top`: write the retained events again, under the same ids."""

    code = "log_behind"

    def __init__(self, top: EventId) -> None:
        super().__init__(f"the log ends at {top}")
        self.top = top


class Head(NamedTuple):
    """The first job of a session's backlog, and the agent that it requires."""

    job_id: str
    agent: str


class Event(NamedTuple):
    """An event to append: `body` is its JSON without the id."""

    kind: str
    job_id: str
    body: bytes

    def field(self) -> tuple[str, bytes]:
        """Return name and value of its entry's field, see shared.log.entries."""
        return name_of(self.job_id, self.kind), self.body


@dataclass(frozen=True, slots=True)
class Attempt:
    """A successful claim: the right to run the job and to append in this epoch, after seq 1.

    `last`: no further attempt is allowed. `first`: the id of the job's first event. `discard_from`: the attempt
    discards the job's events from this id on; None for the first attempt. `budget` and `spent`: JSON amounts, see
    shared/budget.py; an empty budget limits nothing. `traceparent`: of its parent span; empty without one. `after`: the
    job that it follows; empty for none. `models`: JSON list of the models that its tenant may use; empty for all.
    `client`: JSON of what the page sent with it; empty for nothing."""

    session_id: str
    job_id: str
    claim_id: str
    epoch: int
    number: int
    agent: str
    input: bytes
    options: bytes
    metadata: bytes
    timeout_s: int
    discard_from: EventId | None
    last: bool
    first: EventId | None = None
    budget: bytes = b""
    spent: bytes = b""
    traceparent: str = ""
    after: str = ""
    models: bytes = b""
    client: bytes = b""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A claim that did not lead to an attempt.

    `verdict` is one of: wait (not the head of the backlog), stale (a newer `delivery` has claimed), parked (the job
    waits for a person's answer), unoffered (this worker lacks the agent), unsure (the job ends if the worker of
    its last attempt is dead), ended, unknown, deleted, held. `head` is the head of the backlog."""

    verdict: str
    delivery: int = 0
    head: Head | None = None


class AppendPermit(NamedTuple):
    """Permission to append without the script on one connection, for PERMIT_SECONDS.

    It records that at the time `at` the log ended with the attempt's newest event and the session's epoch was the
    attempt's. `checked_at` is when the append script last ran. Both are times of the event loop's clock, in seconds."""

    connection: PipelinedConnection
    at: float
    checked_at: float

    def is_valid(self, now: float) -> bool:
        """Return whether the next events may be appended without the script.

        A new connection may lead to a server that lost the end of the log. The time limit bounds how long a lease owner
        does not learn of intents."""
        return now - self.at <= PERMIT_SECONDS and self.connection.alive

    def needs_renewal(self, now: float) -> bool:
        """Return whether the permit is due for renewal and may be renewed without the script."""
        return now - self.at > RENEWAL_SECONDS and now - self.checked_at <= CHECK_SECONDS


class Appended(NamedTuple):
    """A completed append. `seq` is the newest of the epoch. `attention`: intents are pending for the lease owner."""

    seq: int
    attention: bool
    permit: AppendPermit | None = None


class AppendOutcome(Enum):
    """The outcome of an append without the script."""

    ADDED = auto()
    REFUSED = auto()
    UNKNOWN = auto()


class Finished(NamedTuple):
    """A completed end. `seq` is None when the job had ended before. `head` is the new head of the backlog."""

    seq: int | None
    head: Head | None


class Intents(NamedTuple):
    """Pending intents of a session. `cancel` maps each cancelled job of the backlog to who cancelled it."""

    cancel: dict[str, str]
    deleted: bool


class Outcome(NamedTuple):
    """The result of a step as JSON, and the JSON of its `Mark`, see worker.attempt.journal."""

    key: str
    value: bytes
    mark: bytes


class Recorded(NamedTuple):
    """The journal of a job, as JSON: result and mark of each step, and the answer to each question."""

    steps: dict[str, bytes]
    marks: dict[str, bytes]
    answers: dict[str, bytes]


class Settled(NamedTuple):
    """The outcome of `settle`. `held`: a lease owner must carry the intents out; call again later. `ended`: the jobs
    that were ended. `head`: the head of the backlog."""

    held: bool
    ended: list[str]
    head: Head | None


def head_of(parts: Sequence[bytes]) -> Head | None:
    return Head(parts[0].decode(), parts[1].decode()) if parts else None


async def unless_full(reply: Awaitable[list[bytes]]) -> list[bytes]:
    """Await a reply. Raises LogFull where the server is at maxmemory."""
    try:
        return await reply
    except ResponseError as error:
        if is_full(error):
            raise LogFull from None
        raise


def raise_for(reply: list[bytes]) -> None:
    match reply[0]:
        case b"fenced":
            raise Fenced
        case b"gone":
            raise LogGone
        case b"behind":
            raise LogBehind(parse_id(reply[1]))
