"""Claim sessions and write to their logs. Each write is fenced by the epoch of the claim."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, NamedTuple

import orjson
from holdfast.shared.auto_pipeline import AutoPipeline, PipelinedConnection, PipelineScript
from holdfast.shared.entries import name_of
from holdfast.shared.errors import Fenced, HoldfastError, LogFull, LogGone, RedisRefused
from holdfast.shared.event_log import EventLog
from holdfast.shared.events import CANCELLED, DELETED, FAILED, encode
from holdfast.shared.ids import EventId, parse_id
from holdfast.shared.keys import log_key, session_keys
from holdfast.shared.redis import ExecAbortError, Redis, RedisError, ResponseError, is_full
from holdfast.shared.scripts import Script, script, source
from holdfast.shared.settings import CommonSettings
from holdfast.shared.turns import TurnReader

MESSAGES_LIMIT = 1000
CANCEL_PATIENCE_MS = 5000
DELETED_LOG_SECONDS = 60
PERMIT_SECONDS = 1.0
RENEWAL_SECONDS = 0.8  # renew a permit of this age, so that it is still valid for the next event of a stream
CHECK_SECONDS = 5.0  # renew for at most so long: the append script also trims the log and updates `top` in the state


# Called with jobs of a session that are about to end without an attempt, to drop their queue entries.
Retire = Callable[[Sequence[str]], Awaitable[None]]


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
        """Return name and value of its entry's field, see shared.entries."""
        return name_of(self.job_id, self.kind), self.body


@dataclass(frozen=True, slots=True)
class Attempt:
    """A successful claim: the right to run the job and to append in this epoch, after seq 1.

    `last`: no further attempt is allowed. `first`: the id of the job's first event. `discard_from`: the attempt
    discards the job's events from this id on; None for the first attempt."""

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


@dataclass(frozen=True, slots=True)
class Refusal:
    """A claim that did not lead to an attempt.

    `verdict` is one of: wait (not the head of the backlog), stale (a newer `delivery` has claimed), parked (the job
    waits for a person's answer), unoffered (this worker lacks the agent), ended, unknown, deleted, held. `head` is the
    head of the backlog."""

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
    """The result of a step as JSON, and the JSON of its `Mark`, see worker.journal."""

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


class LogWriter:
    """Claims sessions and writes to their logs, on behalf of a worker's attempts.

    Every call raises RedisError when its outcome is unknown, and may then be repeated with the same arguments. The
    appends of all sessions share the connection of `pipeline`."""

    def __init__(self, redis: Redis, pipeline: AutoPipeline, settings: CommonSettings) -> None:
        self._settings = settings
        self._turns = TurnReader(redis)
        self.log = EventLog(redis)
        self._claim = script(redis, "claim", "session")
        self._claim_end = script(redis, "claim", "session", when_full=True)
        self._pipeline = pipeline
        self._append = PipelineScript(pipeline, source("append"))
        self._finish = script(redis, "finish", "session")
        self._intents = PipelineScript(pipeline, source("intents", "session"))
        self._release = script(redis, "release", "session")
        self._settle = script(redis, "settle", "session")
        self._close_record = script(redis, "close_record", "session")
        self._ask = script(redis, "ask", "session")
        self._rewind = script(redis, "rewind", "session")
        self._journal = script(redis, "journal", "session")
        self._redis = redis

    async def claim(
        self, session_id: str, job_id: str, *, delivery: int, claim_id: str, worker_id: str, offered: bool
    ) -> Attempt | Refusal:
        """Claim the session for one attempt at the job, or end the job when it may not run any more.

        `delivery`: the delivery number of the queue entry. `claim_id`: a random id of this claim, which makes it
        idempotent. `offered`: whether the worker has the job's agent."""
        fixed = (job_id, delivery, claim_id, worker_id, secrets.randbelow(1000))
        try:
            reply = await self._claimed(session_id, job_id, (*fixed, int(offered)), self._claim)
        except LogFull:  # no attempt can start, but a job that must end still ends
            reply = await self._claimed(session_id, job_id, (*fixed, ""), self._claim_end)
        if reply[0] == b"run":
            return _attempt(session_id, job_id, claim_id, reply)
        return _refusal(reply[0].decode(), reply)

    async def end_lost(self, attempt: Attempt, reason: str = "log_lost") -> Refusal:
        """End a job whose log vanished, by a claim that creates the log again and appends the terminal event.

        `reason` is `log_lost`, or `log_error` where the log exists and refused a write."""
        fixed = (attempt.job_id, 0, attempt.claim_id, "", secrets.randbelow(1000), 1)
        ending = await self._ending(attempt.session_id, attempt.job_id, reason, by="", before=b"")
        reply = await self._claimed(attempt.session_id, attempt.job_id, fixed, self._claim_end, ending)
        return _refusal(reply[0].decode(), reply)

    async def close_record(self, session_id: str, event: Event, epoch: int | None = None) -> Refusal:
        """End a job in its record only, where its log cannot be read or written.

        `epoch`: that of the caller's attempt; None when the caller has none. The verdict is ended, unknown, or held (an
        attempt runs). Raises Fenced."""
        fixed = (event.job_id, "" if epoch is None else epoch, secrets.randbelow(1000))
        reply = await self._close_record(
            session_keys(session_id), (*fixed, event.kind, event.body, self._settings.retention_seconds)
        )
        _raise_for(reply)
        return _refusal(reply[0].decode(), reply)

    async def _claimed(
        self,
        session_id: str,
        job_id: str,
        fixed: tuple[Any, ...],
        claim: Script,
        ending: tuple[Any, ...] = (),
    ) -> list[bytes]:
        """Run the claim script; where the job may not run any more, run it again with the job's ending."""
        while True:
            reply = await _full(claim(session_keys(session_id), (*fixed, *self._limits(), *ending)))
            if reply[0] != b"doomed":
                return reply
            _, reason, by, before = reply
            ending = await self._ending(session_id, job_id, reason.decode(), by=by.decode(), before=before)

    async def append(self, session_id: str, epoch: int, after_seq: int, events: Sequence[Event]) -> Appended:
        """Append a batch after `after_seq`, all of it or nothing. Raises Fenced, LogBehind, LogGone, LogFull."""
        keys = session_keys(session_id)
        flat = [part for event in events for part in event.field()]
        connection = await self._pipeline.connection()
        now = asyncio.get_running_loop().time()
        fixed = (epoch, after_seq, self._settings.retention_events)
        reply = await _full(self._append.on(connection, (keys.log, keys.state), (*fixed, *flat)))
        _raise_for(reply)
        return Appended(int(reply[1]), bool(reply[2]), AppendPermit(connection, now, now))

    def append_plain(
        self,
        permit: AppendPermit,
        session_id: str,
        first: EventId,
        events: Sequence[Event],
        on_reply: Callable[[AppendOutcome], None],
    ) -> None:
        """Append events without the script, all of them or nothing, while `permit` is valid.

        `first` is the id of the first one, directly after the attempt's newest event. Where the outcome is not ADDED,
        the caller must use `append`.

        The id is the fence: a takeover puts a higher id into the log first. A transaction for which the server has no
        memory is refused as a whole. Single events do not trim the log, since the script soon does."""
        ids = [b"%d-%d" % (first.epoch, first.seq + number) for number in range(len(events))]
        commands = [_xadd(session_id, *entry) for entry in zip(ids, events, strict=True)]
        if len(events) == 1:
            permit.connection.call_soon(lambda reply: on_reply(_outcome_of(reply, ids[0])), *commands[0])
            return
        commands[-1] = _xadd(session_id, ids[-1], events[-1], "MAXLEN", "~", self._settings.retention_events)
        transaction = (("MULTI",), *commands, ("EXEC",))
        permit.connection.call_together(lambda replies: on_reply(_outcome_of(replies[-1], ids)), *transaction)

    def renew_permit(
        self, permit: AppendPermit, session_id: str, last: EventId, on_reply: Callable[[Appended | None], None]
    ) -> None:
        """Check that the log still ends with `last`, this attempt's newest event, and read whether intents are pending.

        `on_reply` is called with the renewed permit, or with None where the caller must use `append`."""
        keys = session_keys(session_id)
        renewed = permit._replace(at=asyncio.get_running_loop().time())
        permit.connection.call_together(
            lambda replies: on_reply(_renewed(replies, last, renewed)),
            ("XREVRANGE", keys.log, "+", "-", "COUNT", 1),
            ("HMGET", keys.state, "epoch", "job", "attention"),
        )

    async def finish(
        self, session_id: str, epoch: int, after_seq: int, event: Event, *, messages: Sequence[bytes], usage: bytes
    ) -> Finished:
        """Append a job's terminal event after `after_seq` and close its record. `usage` is JSON, or empty.

        Raises Fenced, LogBehind, LogGone."""
        keys = session_keys(session_id)
        fixed = (epoch, after_seq, event.job_id, event.kind, event.body, usage)
        reply = await self._finish(keys, (*fixed, self._settings.retention_seconds, MESSAGES_LIMIT, *messages))
        _raise_for(reply)
        if reply[0] == b"ended":
            return Finished(None, _head(reply[1:]))
        return Finished(int(reply[1]), _head(reply[2:]))

    async def ask(self, session_id: str, epoch: int, after_seq: int, event: Event, question_id: str) -> int:
        """Append a question after `after_seq` and mark its job as waiting. Returns the newest seq.

        Until then the job's record has the prompt and the schema. Raises Fenced, LogBehind, LogGone, LogFull."""
        asked = orjson.loads(event.body)
        schema, prompt = encode(asked.get("schema", {})), encode(asked.get("prompt"))
        fixed = (epoch, after_seq, event.job_id, question_id, event.body, schema, prompt)
        call = self._ask(session_keys(session_id), fixed)
        reply = await _full(call)
        _raise_for(reply)
        return int(reply[1])

    async def rewind(self, session_id: str, epoch: int, after_seq: int, event: Event, discard_from: EventId) -> int:
        """Append another start of the attempt after `after_seq`. It discards the job's events from an id on.

        Returns the newest seq. Raises Fenced, LogBehind, LogGone, LogFull."""
        fixed = (epoch, after_seq, event.job_id, event.body, str(discard_from))
        reply = await _full(self._rewind(session_keys(session_id), fixed))
        _raise_for(reply)
        return int(reply[1])

    async def record(self, session_id: str, epoch: int, resume: EventId, outcomes: Sequence[Outcome]) -> None:
        """Record results of steps in the journal of the running job. A takeover keeps the job's events below `resume`.

        Raises Fenced, LogGone, LogFull."""
        flat = [part for outcome in outcomes for part in outcome]
        _raise_for(await _full(self._journal(session_keys(session_id), (epoch, str(resume), *flat))))

    async def confirm(self, session_id: str, epoch: int) -> None:
        """Raise Fenced where another attempt has claimed the session."""
        known, job = await self._redis.hmget(session_keys(session_id).state, "epoch", "job")
        if job is None or known != b"%d" % epoch:
            raise Fenced

    async def recorded(self, session_id: str) -> Recorded:
        """Read the journal of the running job."""
        found = await self._redis.hgetall(session_keys(session_id).journal)
        fields = [(*field.decode().split(":", 1), value) for field, value in found.items()]
        of = {
            kind: {name: value for found, name, value in fields if found == kind}
            for kind in ("step", "mark", "question")
        }
        return Recorded(of["step"], of["mark"], of["question"])

    async def answer_to(self, session_id: str, question_id: str) -> bytes | None:
        """Return the answer to a question of the running job as JSON, or None."""
        answer: bytes | None = await self._redis.hget(session_keys(session_id).journal, f"question:{question_id}")
        return answer

    async def intents(self, session_id: str, epoch: int) -> Intents:
        """Read the pending intents of the session. Raises Fenced."""
        reply = await self._intents(session_keys(session_id), (epoch,))
        _raise_for(reply)
        texts = [part.decode() for part in reply[2:]]
        return Intents(dict(zip(texts[::2], texts[1::2], strict=True)), bool(reply[1]))

    async def is_deleted(self, session_id: str) -> bool:
        """Return whether the session is being deleted, or was deleted less than DELETED_LOG_SECONDS ago."""
        keys = session_keys(session_id)
        if await self._redis.hget(keys.state, "deleted") is not None:
            return True
        newest = await self._redis.xrevrange(keys.log, count=1)
        return bool(newest) and name_of("", DELETED).encode() in newest[0][1]

    async def release(self, session_id: str, epoch: int) -> None:
        """Release the session without a strike. Raises Fenced."""
        _raise_for(await self._release(session_keys(session_id), (epoch,)))

    async def settle(self, session_id: str, retire: Retire | None = None) -> Settled:
        """Carry out the intents of a session without a lease owner. The conversation keeps what its jobs emitted.

        `retire` is called with jobs before they are ended, to drop their queue entries. After a crash in between, the
        jobs are still open, so the next call retires and ends them."""
        fixed = (f"settle-{secrets.token_hex(8)}", secrets.randbelow(1000), CANCEL_PATIENCE_MS)
        limits = (self._settings.retention_seconds, MESSAGES_LIMIT, DELETED_LOG_SECONDS)
        retired: list[str] = []
        turn: list[str | bytes] = []
        ended: list[str] = []
        while True:
            arguments = (*fixed, *limits, len(retired), *retired, *turn)
            word, counted, *rest = await self._settle(session_keys(session_id), arguments)
            count = int(counted)
            named = [job_id.decode() for job_id in rest[:count]]
            if word == b"retire":
                retired = named
                if retire is not None:
                    await retire(retired)
            elif word == b"turn":
                job_id = rest[0].decode()
                turn = [job_id, *await self._turns.read(session_id, job_id)]
            else:
                ended += named
                if word != b"more":
                    return Settled(word == b"held", ended, _head(rest[count:]))

    def _limits(self) -> tuple[int, ...]:
        settings = self._settings
        waits_ms = settings.queue_seconds * 1000, settings.ask_seconds * 1000
        return settings.max_attempts, *waits_ms, settings.retention_seconds, MESSAGES_LIMIT

    async def _ending(self, session_id: str, job_id: str, reason: str, *, by: str, before: bytes) -> tuple[Any, ...]:
        """Return the arguments with which a claim ends the job: reason, event, messages for the conversation."""
        messages = await self._turns.read(session_id, job_id) if before else []
        if reason == "cancelled":
            return reason, CANCELLED, b'"by":' + encode(by), *messages
        return reason, FAILED, b'"error":' + encode(ENDINGS[reason]), *messages


ENDINGS = {
    "exhausted": {"code": "poisoned", "message": "Every attempt lost its worker", "retryable": False},
    "expired": {"code": "expired", "message": "The job waited too long for a worker", "retryable": True},
    "unanswered": {"code": "unanswered", "message": "Nobody answered the question in time", "retryable": True},
    "log_error": {"code": RedisRefused.code, "message": RedisRefused.title, "retryable": False},
    "log_lost": {"code": "log_lost", "message": "The event log vanished while the job ran", "retryable": True},
}


def _attempt(session_id: str, job_id: str, claim_id: str, reply: list[bytes]) -> Attempt:
    return Attempt(
        session_id,
        job_id,
        claim_id,
        epoch=int(reply[1]),
        number=int(reply[2]),
        agent=reply[3].decode(),
        input=reply[4],
        options=reply[5],
        metadata=reply[6],
        timeout_s=int(reply[7]),
        discard_from=parse_id(reply[8]) if reply[8] else None,
        last=bool(reply[9]),
        first=parse_id(reply[10]),
    )


def _refusal(word: str, reply: list[bytes]) -> Refusal:
    if word in ("stale", "parked"):
        return Refusal(word, delivery=int(reply[1]))
    return Refusal(word, head=_head(reply[1:]))


def _xadd(session_id: str, entry_id: bytes, event: Event, *options: str | int) -> tuple[str | bytes | int, ...]:
    return "XADD", log_key(session_id), "NOMKSTREAM", *options, entry_id, *event.field()


def _outcome_of(reply: Any, expected_ids: bytes | list[bytes]) -> AppendOutcome:
    """Only the expected ids mean ADDED. A server without memory, or one that discards a transaction, added nothing."""
    if reply == expected_ids:
        return AppendOutcome.ADDED
    refused = isinstance(reply, ExecAbortError) or (isinstance(reply, ResponseError) and is_full(reply))
    return AppendOutcome.REFUSED if refused else AppendOutcome.UNKNOWN


def _renewed(replies: list[Any], last: EventId, permit: AppendPermit) -> Appended | None:
    entries, state = replies
    if any(isinstance(reply, RedisError) for reply in replies) or not entries:
        return None
    epoch, job, attention = state
    if entries[0][0] != str(last).encode() or epoch != b"%d" % last.epoch or job is None:
        return None
    return Appended(last.seq, bool(attention), permit)


def _head(parts: Sequence[bytes]) -> Head | None:
    return Head(parts[0].decode(), parts[1].decode()) if parts else None


async def _full(reply: Awaitable[list[bytes]]) -> list[bytes]:
    """Await a reply. Raises LogFull where the server is at maxmemory."""
    try:
        return await reply
    except ResponseError as error:
        if is_full(error):
            raise LogFull from None
        raise


def _raise_for(reply: list[bytes]) -> None:
    match reply[0]:
        case b"fenced":
            raise Fenced
        case b"gone":
            raise LogGone
        case b"behind":
            raise LogBehind(parse_id(reply[1]))
