"""The worker's side of a session: the claim, and every write that it fences."""

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
from holdfast.shared.events import CANCELLED, FAILED, encode
from holdfast.shared.ids import EventId, parse_id
from holdfast.shared.keys import log_key, session_keys
from holdfast.shared.redis import ExecAbortError, Redis, RedisError, ResponseError, is_full
from holdfast.shared.scripts import Script, script, source
from holdfast.shared.settings import CommonSettings
from holdfast.shared.turns import TurnReader

MESSAGES_LIMIT = 1000
CANCEL_PATIENCE_MS = 5000
DELETED_LOG_SECONDS = 60
PROOF_SECONDS = 1.0
RENEWAL_SECONDS = 0.8  # the age at which a proof is renewed, so that a stream's next event finds it valid
CHECK_SECONDS = 5.0  # for so long it may be renewed: the script also trims, and keeps the state's `top` near the truth


class LogBehind(HoldfastError):
    """The log lost its tail and ends at `top`: write what is kept again, under the same ids."""

    code = "log_behind"

    def __init__(self, top: EventId) -> None:
        super().__init__(f"the log ends at {top}")
        self.top = top


class Head(NamedTuple):
    """The job that is next in a session's line, and the agent that it wants."""

    job_id: str
    agent: str


class Event(NamedTuple):
    """An event on its way into the log: `body` is its JSON without the id."""

    kind: str
    job_id: str
    body: bytes

    def field(self) -> tuple[str, bytes]:
        """The field of its entry, which is described in shared.entries: name and value."""
        return name_of(self.job_id, self.kind), self.body


@dataclass(frozen=True, slots=True)
class Attempt:
    """A claim that succeeded: run the job, write in this epoch behind seq 1. `last`: no other attempt is allowed.

    `first` is the job's first event; a later attempt discards the job's events from `discard_from` on."""

    session_id: str
    job_id: str
    token: str
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
    """A claim that did not lead to an attempt. `verdict` is one of wait (not the head of its line), stale (another
    delivery, `delivery`, claimed before), parked (a person is asked), unoffered, ended, unknown, deleted; `head` is the
    next of the line."""

    verdict: str
    delivery: int = 0
    head: Head | None = None


class Proof(NamedTuple):
    """That the log ended with an attempt's newest event, and the session was its own, on this connection: asked `at`
    this time of the event loop; `checked_at` another the append script itself took events."""

    connection: PipelinedConnection
    at: float
    checked_at: float

    def holds(self, now: float) -> bool:
        """Whether the attempt's next events may be appended without the script. On another connection the server may be
        one that lost the end of the log; later the holder has to hear whether it is wanted."""
        return now - self.at <= PROOF_SECONDS and self.connection.alive

    def ages(self, now: float) -> bool:
        """Whether it is time to renew it, and may be done."""
        return now - self.at > RENEWAL_SECONDS and now - self.checked_at <= CHECK_SECONDS


class Appended(NamedTuple):
    """`seq` is the newest of the epoch. `attention`: somebody wants something of the holder, see intents."""

    seq: int
    attention: bool
    proof: Proof | None = None


class Taken(Enum):
    """What came of an append without the script."""

    YES = auto()
    NO = auto()
    UNKNOWN = auto()


class Finished(NamedTuple):
    """`seq` is None when somebody had ended the job before. `head` is the next of the line."""

    seq: int | None
    head: Head | None


class Intents(NamedTuple):
    """What the holder is asked to do: `cancel` maps jobs of the line to who cancelled them."""

    cancel: dict[str, str]
    deleted: bool


class Outcome(NamedTuple):
    """What a step came to, as JSON, and the JSON of its `Mark`, see worker.journal."""

    key: str
    value: bytes
    mark: bytes


class Recorded(NamedTuple):
    """What a job's attempts have recorded, as JSON: the outcome and mark of each step, the answer to each question."""

    steps: dict[str, bytes]
    marks: dict[str, bytes]
    answers: dict[str, bytes]


class Settled(NamedTuple):
    """`held`: the session's holder has to carry the intents out; look again later. `ended`: the jobs that were ended.
    `head`: the next of the line."""

    held: bool
    ended: list[str]
    head: Head | None


class Holder:
    """Claims sessions and writes to them. Every call raises RedisError when the outcome is not known; each may then be
    repeated as it was. The appends of all sessions go through the pipeline."""

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
        self, session_id: str, job_id: str, *, delivery: int, token: str, worker_id: str, offered: bool
    ) -> Attempt | Refusal:
        """Claim the session for one attempt at the job, or end the job when it may not run any more.

        `token` is random, drawn once for this claim: repeated with it, the claim answers the same."""
        fixed = (job_id, delivery, token, worker_id, secrets.randbelow(1000))
        try:
            reply = await self._claimed(session_id, job_id, (*fixed, int(offered)), self._claim)
        except LogFull:  # nothing can start, but what is to end must end
            reply = await self._claimed(session_id, job_id, (*fixed, ""), self._claim_end)
        if reply[0] == b"run":
            return _attempt(session_id, job_id, token, reply)
        return _refusal(reply[0].decode(), reply)

    async def end_lost(self, attempt: Attempt, reason: str = "log_lost") -> Refusal:
        """End an attempt's job whose log vanished: a claim makes the log anew, says so, and ends the job. `log_error`:
        the log is there and refused a write."""
        fixed = (attempt.job_id, 0, attempt.token, "", secrets.randbelow(1000), 1)
        ending = await self._ending(attempt.session_id, attempt.job_id, reason, by="", before=b"")
        reply = await self._claimed(attempt.session_id, attempt.job_id, fixed, self._claim_end, ending)
        return _refusal(reply[0].decode(), reply)

    async def close_record(self, session_id: str, event: Event, epoch: int | None = None) -> Refusal:
        """End a job in its record alone, where its log cannot be read or written. `epoch`: that of its attempt, else
        none runs. The verdict is ended, unknown, or held: an attempt runs. Raises Fenced."""
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
        """Ask for the claim; where the job may not run any more, ask again with how it ends."""
        while True:
            reply = await _full(claim(session_keys(session_id), (*fixed, *self._limits(), *ending)))
            if reply[0] != b"doomed":
                return reply
            _, reason, by, before = reply
            ending = await self._ending(session_id, job_id, reason.decode(), by=by.decode(), before=before)

    async def append(self, session_id: str, epoch: int, after_seq: int, events: Sequence[Event]) -> Appended:
        """Append a batch behind `after_seq`, whole or not at all. Raises Fenced, LogBehind, LogGone, LogFull."""
        keys = session_keys(session_id)
        flat = [part for event in events for part in event.field()]
        connection = await self._pipeline.connection()
        now = asyncio.get_running_loop().time()
        fixed = (epoch, after_seq, self._settings.retention_events)
        reply = await _full(self._append.on(connection, (keys.log, keys.state), (*fixed, *flat)))
        _raise_for(reply)
        return Appended(int(reply[1]), bool(reply[2]), Proof(connection, now, now))

    def append_plain(
        self,
        proof: Proof,
        session_id: str,
        first: EventId,
        events: Sequence[Event],
        on_reply: Callable[[Taken], None],
    ) -> None:
        """Append events, of which `first` is directly behind this attempt's last one, while `proof` holds: in order,
        all of them if the first is taken. What is not taken for sure, `append` takes or says why not.

        The id is the fence: whoever takes the session over puts a higher one into the log first. A transaction that the
        server has no room for is refused as a whole. Single events do not trim: they are few, and the script does."""
        ids = [b"%d-%d" % (first.epoch, first.seq + number) for number in range(len(events))]
        commands = [_xadd(session_id, *entry) for entry in zip(ids, events, strict=True)]
        if len(events) == 1:
            proof.connection.call_soon(lambda reply: on_reply(_taken(reply, ids[0])), *commands[0])
            return
        commands[-1] = _xadd(session_id, ids[-1], events[-1], "MAXLEN", "~", self._settings.retention_events)
        transaction = (("MULTI",), *commands, ("EXEC",))
        proof.connection.call_together(lambda replies: on_reply(_taken(replies[-1], ids)), *transaction)

    def look(self, proof: Proof, session_id: str, last: EventId, on_answer: Callable[[Appended | None], None]) -> None:
        """Ask whether the log still ends with `last`, this attempt's newest event, and whether anybody wants anything.
        `on_answer` hears it with the proof renewed, or None where `append` has to find out."""
        keys = session_keys(session_id)
        renewed = proof._replace(at=asyncio.get_running_loop().time())
        proof.connection.call_together(
            lambda replies: on_answer(_seen(replies, last, renewed)),
            ("XREVRANGE", keys.log, "+", "-", "COUNT", 1),
            ("HMGET", keys.state, "epoch", "job", "attention"),
        )

    async def finish(
        self, session_id: str, epoch: int, after_seq: int, event: Event, *, messages: Sequence[bytes], usage: bytes
    ) -> Finished:
        """Append a job's terminal event behind `after_seq` and close its record. `usage` is JSON, or empty.

        Raises Fenced, LogBehind, LogGone."""
        keys = session_keys(session_id)
        fixed = (epoch, after_seq, event.job_id, event.kind, event.body, usage)
        reply = await self._finish(keys, (*fixed, self._settings.retention_seconds, MESSAGES_LIMIT, *messages))
        _raise_for(reply)
        if reply[0] == b"ended":
            return Finished(None, _head(reply[1:]))
        return Finished(int(reply[1]), _head(reply[2:]))

    async def ask(self, session_id: str, epoch: int, after_seq: int, event: Event, question_id: str) -> int:
        """Append a question behind `after_seq`; its job waits until `answer` has one. Answers the newest seq.

        Its prompt and schema are part of the job's record meanwhile. Raises Fenced, LogBehind, LogGone, LogFull."""
        asked = orjson.loads(event.body)
        schema, prompt = encode(asked.get("schema", {})), encode(asked.get("prompt"))
        fixed = (epoch, after_seq, event.job_id, question_id, event.body, schema, prompt)
        call = self._ask(session_keys(session_id), fixed)
        reply = await _full(call)
        _raise_for(reply)
        return int(reply[1])

    async def rewind(self, session_id: str, epoch: int, after_seq: int, event: Event, discard_from: EventId) -> int:
        """Append a further start of the attempt behind `after_seq`, which discards its job's events from an id on.
        Answers the newest seq. Raises Fenced, LogBehind, LogGone, LogFull."""
        fixed = (epoch, after_seq, event.job_id, event.body, str(discard_from))
        reply = await _full(self._rewind(session_keys(session_id), fixed))
        _raise_for(reply)
        return int(reply[1])

    async def record(self, session_id: str, epoch: int, resume: EventId, outcomes: Sequence[Outcome]) -> None:
        """Record what steps of the running job came to. Whoever takes it over keeps the job's events below `resume`.

        Raises Fenced, LogGone, LogFull."""
        flat = [part for outcome in outcomes for part in outcome]
        _raise_for(await _full(self._journal(session_keys(session_id), (epoch, str(resume), *flat))))

    async def confirm(self, session_id: str, epoch: int) -> None:
        """Raise Fenced where another attempt has the session by now."""
        known, job = await self._redis.hmget(session_keys(session_id).state, "epoch", "job")
        if job is None or known != b"%d" % epoch:
            raise Fenced

    async def recorded(self, session_id: str) -> Recorded:
        """What earlier attempts of the running job have recorded."""
        found = await self._redis.hgetall(session_keys(session_id).journal)
        fields = [(*field.decode().split(":", 1), value) for field, value in found.items()]
        of = {
            kind: {name: value for found, name, value in fields if found == kind}
            for kind in ("step", "mark", "question")
        }
        return Recorded(of["step"], of["mark"], of["question"])

    async def answer_to(self, session_id: str, question_id: str) -> bytes | None:
        """The answer to the question that the running job asked, as JSON, if there is one."""
        answer: bytes | None = await self._redis.hget(session_keys(session_id).journal, f"question:{question_id}")
        return answer

    async def intents(self, session_id: str, epoch: int) -> Intents:
        """What the session's holder is asked to do. Raises Fenced."""
        reply = await self._intents(session_keys(session_id), (epoch,))
        _raise_for(reply)
        texts = [part.decode() for part in reply[2:]]
        return Intents(dict(zip(texts[::2], texts[1::2], strict=True)), bool(reply[1]))

    async def release(self, session_id: str, epoch: int) -> None:
        """Give the session back without a strike. Raises Fenced."""
        _raise_for(await self._release(session_keys(session_id), (epoch,)))

    async def settle(self, session_id: str) -> Settled:
        """Carry out the intents of a session that nobody holds. The conversation keeps what a job has said."""
        fixed = (f"settle-{secrets.token_hex(8)}", secrets.randbelow(1000), CANCEL_PATIENCE_MS)
        limits = (self._settings.retention_seconds, MESSAGES_LIMIT, DELETED_LOG_SECONDS)
        turn: list[str | bytes] = []
        while True:
            reply = await self._settle(session_keys(session_id), (*fixed, *limits, *turn))
            if reply[0] != b"turn":
                break
            job_id = reply[1].decode()
            turn = [job_id, *await self._turns.read(session_id, job_id)]
        count = int(reply[1])
        ended = [job_id.decode() for job_id in reply[2 : 2 + count]]
        return Settled(reply[0] == b"held", ended, _head(reply[2 + count :]))

    def _limits(self) -> tuple[int, ...]:
        settings = self._settings
        waits_ms = settings.queue_seconds * 1000, settings.ask_seconds * 1000
        return settings.max_attempts, *waits_ms, settings.retention_seconds, MESSAGES_LIMIT

    async def _ending(self, session_id: str, job_id: str, reason: str, *, by: str, before: bytes) -> tuple[Any, ...]:
        """The arguments with which a claim ends the job: why, the event, and what the conversation keeps of it."""
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


def _attempt(session_id: str, job_id: str, token: str, reply: list[bytes]) -> Attempt:
    return Attempt(
        session_id,
        job_id,
        token,
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


def _taken(reply: Any, wanted: bytes | list[bytes]) -> Taken:
    """Only the wanted ids are a yes. A server without room, or that discards a transaction, has done nothing."""
    if reply == wanted:
        return Taken.YES
    refused = isinstance(reply, ExecAbortError) or (isinstance(reply, ResponseError) and is_full(reply))
    return Taken.NO if refused else Taken.UNKNOWN


def _seen(replies: list[Any], last: EventId, proof: Proof) -> Appended | None:
    entries, state = replies
    if any(isinstance(reply, RedisError) for reply in replies) or not entries:
        return None
    epoch, job, attention = state
    if entries[0][0] != str(last).encode() or epoch != b"%d" % last.epoch or job is None:
        return None
    return Appended(last.seq, bool(attention), proof)


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
