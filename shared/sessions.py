"""Read sessions, submit jobs, and write intents (cancel, answer, delete): what a gateway may do with a session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson
from holdfast.shared.errors import (
    IdempotencyMismatch,
    JobUnknown,
    QuestionAnswered,
    QuestionUnknown,
    QueueFull,
    SessionBusy,
    SessionHasOtherJobs,
    SessionUnknown,
)
from holdfast.shared.ids import EventId, as_cursor, parse_id
from holdfast.shared.job_record import (
    FIELDS,
    HEADLINE,
    MESSAGE,
    RECORD,
    SEALED,
    SUMMARY,
    TITLE,
    JobState,
    job_of,
    journaled,
    permitted,
    placed,
)
from holdfast.shared.keys import session_keys
from holdfast.shared.log.branches import of_jobs
from holdfast.shared.log.conversation import CONVERSATION_BYTES, MESSAGES_LIMIT, Message
from holdfast.shared.log.script_events import is_end
from holdfast.shared.log.turns import TurnReader
from holdfast.shared.redis.log_connections import LogConnections
from holdfast.shared.scripts import SessionScript
from holdfast.shared.settings import CommonSettings

KEY_LIFETIME_MS = 86_400_000
RECORDS_LIMIT = 1000
JOBS_PAGE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A job to submit. `input`, `options` and `metadata` are JSON. `digest`: of the whole body. `title`: for the
    session, where this job is its first. `webhook`: JSON of `url` and `events`, or empty. `budget`: JSON amounts, see
    shared/budget.py; empty for none. `traceparent`: of the span that submits it; empty for none.
    `after`: the job that it follows, whose path is what its agent reads; empty for none; None for the newest.
    `models`: JSON list of the models that the tenant may use; empty for all. `client`: JSON of what the page sent with
    it; empty for nothing."""

    agent: str
    input: bytes
    options: bytes
    metadata: bytes
    timeout_s: int
    on_busy: str
    idempotency_key: str | None
    digest: str
    title: str = ""
    webhook: bytes = b""
    budget: bytes = b""
    traceparent: str = ""
    after: str | None = None
    models: bytes = b""
    client: bytes = b""


@dataclass(frozen=True, slots=True)
class Submitted:
    """An accepted job. `cursor`: the newest id of the session. `notify`: the worker whose job is interrupted, if
    any."""

    job_id: str
    status: str
    position: int
    cursor: EventId
    replayed: bool
    notify: str | None


@dataclass(frozen=True, slots=True)
class Intent:
    """An intent that was written. `lease_owner`: the worker to notify. `status`: the job's, at that moment."""

    status: str
    lease_owner: str | None


class Question(NamedTuple):
    """The open question of a job. `schema` is JSON."""

    question_id: str
    schema: bytes


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer that was written. `lease_owner`: the worker that waits for it; None: make the queue entry of the job
    visible to workers of its `agent`."""

    lease_owner: str | None
    agent: str


@dataclass(frozen=True, slots=True)
class SessionState:
    """A session. `jobs`: the ids of its jobs, oldest first. `backlog`: of those that have not ended, in running order.
    `current`: the head of the backlog, else the last job, without metadata."""

    session_id: str
    created_at: int
    cursor: EventId
    jobs: list[str]
    backlog: list[str]
    current: JobState


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """A session in a list. `current` lacks result, error, usage and metadata."""

    session_id: str
    created_at: int
    title: str
    cursor: EventId
    current: JobState


class JobWebhook(NamedTuple):
    """A job and its webhook, as JSON; None without one. `asked_at`: when its open question was asked, in ms since
    1970."""

    job: JobState
    webhook: bytes | None
    asked_at: int | None


class JobsPage(NamedTuple):
    """Jobs, newest first. `more`: the job after which the next page begins; None on the last page."""

    jobs: list[JobState]
    more: str | None


class Conversation(NamedTuple):
    """The messages on the path to the newest job, each as JSON, at the position `cursor`. `running`: the job on that
    path that has started and not ended, if any; its turn so far is included."""

    messages: list[bytes]
    cursor: EventId
    running: JobState | None


class RecentMessages(NamedTuple):
    """The newest messages on the path to a job, each as JSON: of the jobs before it, and its own once it has ended.
    `given`: its input; None if its record is gone."""

    earlier: list[bytes]
    own: list[bytes]
    given: Any

    @property
    def size(self) -> int:
        """The size of the messages in bytes."""
        return sum(map(len, (*self.earlier, *self.own)))


class Sessions:
    """All sessions. Every call raises RedisError when the log server does not answer."""

    def __init__(self, connections: LogConnections, settings: CommonSettings) -> None:
        self._connections = connections
        self._keyring = connections.keyring
        self._settings = settings
        self._turns = TurnReader(connections)
        self._submit = SessionScript(connections, "submit")
        self._first = SessionScript(connections, "first")
        self._cancel = SessionScript(connections, "cancel")
        self._delete = SessionScript(connections, "delete")
        self._answer = SessionScript(connections, "answer")
        # Reads are scripts, for a consistent snapshot. MULTI would do, but Redis refuses it at maxmemory.
        self._read_session = SessionScript(connections, "read_session")
        self._read_summary = SessionScript(connections, "read_summary")
        self._read_job = SessionScript(connections, "read_job")
        self._read_jobs = SessionScript(connections, "read_jobs")
        self._read_messages = SessionScript(connections, "read_messages")
        self._read_history = SessionScript(connections, "read_history")

    async def submit(self, session_id: str, job_id: str, request: JobRequest) -> Submitted:
        """Add the job to the session's backlog. Idempotent by the job id.

        Raises SessionBusy, IdempotencyMismatch, QueueFull, SessionUnknown for a session that is being deleted, and
        JobUnknown if the session has no job `after`."""
        given = {"input": request.input, "options": request.options, "metadata": request.metadata}
        given |= {name: value for name in ("webhook", "client") if (value := getattr(request, name))}
        allowed = permitted(job_id, request.agent, request.models)
        values = [(TITLE, request.title.encode()), allowed, *placed(job_id, given)]
        title, models, *stored = await self._keyring.sealed(session_id, values)
        fields = {"webhook": b"", "client": b""} | dict(zip(given, stored, strict=True))
        job = (job_id, request.agent, fields["input"], fields["options"], fields["metadata"], request.timeout_s)
        terms = (request.on_busy, request.idempotency_key or "", request.digest)
        limits = (self._key_lifetime_ms(), self._settings.session_backlog_limit, RECORDS_LIMIT)
        after = "-" if request.after is None else request.after
        rest = (title, fields["webhook"], request.budget, request.traceparent, after, models, fields["client"])
        try:
            submitted = _submitted(await self._submit(session_id, (*job, *terms, *limits, *rest, *FIELDS)))
        except QueueFull:
            raise QueueFull(f"A session may have {self._settings.session_backlog_limit} open jobs") from None
        assert submitted is not None
        return submitted

    async def first(self, session_id: str, request: JobRequest) -> Submitted | None:
        """Return the job that was accepted with this request's idempotency key, or None. Raises IdempotencyMismatch."""
        arguments = (request.idempotency_key or "", request.digest, self._key_lifetime_ms())
        return _submitted(await self._first(session_id, arguments))

    async def cancel(self, session_id: str, job_id: str, by: str = "user", question_id: str | None = None) -> Intent:
        """Write the intent to cancel a job, unless it has ended. `question_id`: only if this is its open question.

        Raises SessionUnknown, JobUnknown, QuestionUnknown; QuestionAnswered if the question was answered, or its job
        cancelled before."""
        return _intent(await self._cancel(session_id, (job_id, by, question_id or "")))

    async def question(self, session_id: str, job_id: str) -> Question | None:
        """Return the open question of the job, or None. Raises SessionUnknown, JobUnknown."""
        _, record = await self._read(self._read_job, session_id, job_id, "agent", "question", "schema")
        question_id, schema = record[-2:]
        (schema,) = await self._keyring.opened(session_id, placed(job_id, {"schema": schema}))
        return None if question_id is None else Question(question_id.decode(), schema or b"{}")

    async def answer(self, session_id: str, job_id: str, question_id: str | None, value: bytes) -> Answered:
        """Answer a question of the job; without `question_id` the open one. `value` is JSON.

        Raises QuestionAnswered, QuestionUnknown, SessionUnknown, JobUnknown."""
        if question_id is None:
            waiting = await self.question(session_id, job_id)
            question_id = "" if waiting is None else waiting.question_id
        (stored,) = await self._keyring.sealed(session_id, journaled(job_id, {f"question:{question_id}": value}))
        word, *rest = await self._answer(session_id, (job_id, question_id, stored))
        if word != b"ok":
            raise REFUSALS[word.decode()]
        return Answered(rest[0].decode() or None, rest[1].decode())

    async def delete(self, session_id: str, *only: str) -> Intent:
        """Write the intent to delete the session. `only`: a job; only if the session has no other one.

        Raises SessionUnknown, JobUnknown, SessionHasOtherJobs."""
        return _intent(await self._delete(session_id, only))

    async def session(self, session_id: str) -> SessionState:
        """Read the session. Raises SessionUnknown."""
        top, created, ids, backlog, record = await self._read(self._read_session, session_id, *SUMMARY)
        return SessionState(
            session_id,
            int(created),
            as_cursor(parse_id(top)),
            [job.decode() for job in ids],
            [job.decode() for job in backlog],
            await self._job_of(session_id, record, as_cursor(parse_id(top))),
        )

    async def summary(self, session_id: str) -> SessionSummary:
        """Read the summary of the session. Raises SessionUnknown."""
        top, created, title, record = await self._read(self._read_summary, session_id, *HEADLINE)
        cursor = parse_id(top)
        (title,) = await self._keyring.opened(session_id, [(TITLE, title)])
        job = job_of(session_id, record, cursor)
        return SessionSummary(session_id, int(created), (title or b"").decode(), cursor, job)

    async def title(self, session_id: str) -> str:
        """Read the title of the session, with one command; an empty one where there is no session."""
        title = await self._connections.connection_for(session_id).redis.hget(session_keys(session_id).state, "title")
        (title,) = await self._keyring.opened(session_id, [(TITLE, title)])
        return (title or b"").decode()

    async def job(self, session_id: str, job_id: str) -> JobState:
        """Read one job. Raises SessionUnknown, JobUnknown."""
        top, record = await self._read(self._read_job, session_id, job_id, *RECORD)
        return await self._job_of(session_id, record, as_cursor(parse_id(top)))

    async def nearest(self, session_id: str, job_ids: Sequence[str]) -> str | None:
        """Return the first of these ids that is that of a job of the session, if any. A job that was cancelled, or has
        ended, before it started is left out: its input is in no conversation."""
        if not job_ids:
            return None
        redis = self._connections.connection_for(session_id).redis
        names = [f"{job_id}:{field}" for job_id in job_ids for field in ("attempt", "end", "cancel")]
        found = iter(await redis.hmget(session_keys(session_id).jobs, names))
        records = zip(job_ids, found, found, found, strict=True)
        return next((job_id for job_id, *record in records if _has_input(*record)), None)

    async def webhook(self, session_id: str, job_id: str) -> JobWebhook:
        """Read one job with its webhook. Raises SessionUnknown, JobUnknown."""
        top, record = await self._read(self._read_job, session_id, job_id, *RECORD, "webhook", "asked_at")
        *known, webhook, asked_at = record
        (webhook,) = await self._keyring.opened(session_id, placed(job_id, {"webhook": webhook}))
        job = await self._job_of(session_id, known, as_cursor(parse_id(top)))
        return JobWebhook(job, webhook, None if asked_at is None else int(asked_at))

    async def jobs(self, session_id: str, behind: str | None, count: int) -> JobsPage:
        """Read at most `count` jobs, newest first, starting after the job `behind`.

        A page ends early with the job whose record fills JOBS_PAGE_BYTES. Raises SessionUnknown."""
        arguments = (behind or "", count, JOBS_PAGE_BYTES, *RECORD)
        top, more, *records = await self._read(self._read_jobs, session_id, *arguments)
        jobs = [await self._job_of(session_id, record, as_cursor(parse_id(top))) for record in records]
        return JobsPage(jobs, more.decode() or None)

    async def messages(self, session_id: str) -> Conversation:
        """Read the conversation, including the turn so far of a running job. Raises SessionUnknown."""
        top, stored, path, record = await self._read(self._read_messages, session_id, *SUMMARY)
        stored = await self._messages(session_id, stored, path)
        newest = parse_id(top)
        cursor = as_cursor(newest)
        if record is None or (path and record[0] not in path):
            return Conversation(stored, cursor, None)
        running = await self._job_of(session_id, record, cursor)
        turn = await self._turns.read(session_id, running.job_id, newest.next())
        return Conversation([*stored, *turn], cursor, running)

    async def history(self, session_id: str, job_id: str) -> list[Message]:
        """Read the conversation that a job continues: the messages on the path to it."""
        arguments = (job_id, MESSAGES_LIMIT, CONVERSATION_BYTES)
        stored, _, path, *_ = await self._read_history(session_id, arguments)
        return [orjson.loads(message) for message in await self._messages(session_id, stored[::-1], path)]

    async def recent(self, session_id: str, job_id: str, count: int, size: int) -> RecentMessages:
        """Read the newest messages on the path to a job: at most `count`, and of `size` bytes, which the oldest one may
        exceed. More are read, up to the whole conversation, where many of the newest ones are not on the path."""
        most, bound = count, size
        while True:
            messages, older, path, later, given = await self._read_history(session_id, (job_id, most, bound))
            stored = (await self._messages(session_id, messages[::-1], path))[-count:]
            if not older or not path or len(stored) == count or sum(map(len, stored)) >= size:
                break
            most, bound = most * 8, bound * 8
        (given,) = await self._keyring.opened(session_id, placed(job_id, {"input": given}))
        not_before = {job_id} if path else {job.decode() for job in later}
        return RecentMessages(
            await of_jobs(stored, lambda job: job not in not_before),
            await of_jobs(stored, lambda job: job == job_id),
            None if given is None else orjson.loads(given),
        )

    async def _job_of(self, session_id: str, record: Sequence[Any], top: EventId) -> JobState:
        """Build a job from its record, as `job_of` does, with its values opened."""
        job_id, position, *stored = record
        fields, status = dict(zip(RECORD, stored, strict=False)), (stored[1] or b"").decode()
        closed = {name: value for name, value in fields.items() if name in SEALED and value is not None}
        if is_end(f"{job_id.decode()} job.{status}".encode(), closed.get("end_body", b"")):
            del closed["end_body"]
        values = await self._keyring.opened(session_id, placed(job_id.decode(), closed, status))
        fields.update(zip(closed, values, strict=True))
        return job_of(session_id, (job_id, position, *fields.values()), top)

    async def _messages(self, session_id: str, stored: Sequence[bytes], path: Sequence[bytes]) -> list[Any]:
        """Return stored messages, opened: those of the jobs on a path, or all if it is empty."""
        opened = await self._keyring.opened(session_id, [(MESSAGE, message) for message in stored])
        jobs = {job.decode() for job in path}
        return await of_jobs(opened, jobs.__contains__) if jobs else opened

    async def _read(self, reading: SessionScript, session_id: str, *arguments: str | int) -> list[Any]:
        """Run a script that reads. Raises SessionUnknown, JobUnknown."""
        reply: list[Any] = await reading(session_id, arguments)
        if reply[0] != b"ok":
            raise REFUSALS[reply[0].decode()]
        return reply[1:]

    def _key_lifetime_ms(self) -> int:
        return min(KEY_LIFETIME_MS, self._settings.retention_seconds * 1000)


REFUSALS: dict[str, type[Exception]] = {
    "busy": SessionBusy,
    "full": QueueFull,
    "mismatch": IdempotencyMismatch,
    "deleted": SessionUnknown,
    "answered": QuestionAnswered,
    "unasked": QuestionUnknown,
    "others": SessionHasOtherJobs,
    "unknown_session": SessionUnknown,
    "unknown_job": JobUnknown,
}


def _has_input(attempt: bytes | None, end: bytes | None, cancel: bytes | None) -> bool:
    """Return whether the input of a job is in the conversation, or will be. `attempt`: None for an unknown job."""
    return attempt is not None and (attempt != b"0" or (end is None and cancel is None))


def _submitted(reply: list[Any]) -> Submitted | None:
    word = reply[0].decode()
    if word in REFUSALS:
        raise REFUSALS[word]
    if word == "none":
        return None
    job_id, status, position, top, notify = reply[1:]
    return Submitted(
        job_id.decode(),
        status.decode(),
        int(position),
        as_cursor(parse_id(top)),
        word == "replayed",
        notify.decode() or None,
    )


def _intent(reply: list[bytes]) -> Intent:
    word, *rest = (part.decode() for part in reply)
    if word in REFUSALS:
        raise REFUSALS[word]
    return Intent(rest[0] if len(rest) == 2 else "", rest[-1] or None)
