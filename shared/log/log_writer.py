"""Claim sessions and write to their logs. Each write is fenced by the epoch of the claim."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import orjson
from holdfast.shared.errors import Fenced
from holdfast.shared.ids import EventId
from holdfast.shared.job_record import journaled, placed
from holdfast.shared.keys import log_key, session_keys
from holdfast.shared.log.conversation import MESSAGES_LIMIT
from holdfast.shared.log.event_log import EventLog
from holdfast.shared.log.events import encode
from holdfast.shared.log.log_replies import (
    Appended,
    AppendOutcome,
    AppendPermit,
    Event,
    Finished,
    Outcome,
    Recorded,
    head_of,
    raise_for,
    unless_full,
)
from holdfast.shared.log.sealed_entries import sealed
from holdfast.shared.log.session_claims import SessionClaims
from holdfast.shared.redis.cluster_slots import redirect_of
from holdfast.shared.redis.errors import ExecAbortError, RedisError, ResponseError, is_full
from holdfast.shared.redis.log_connections import LogConnections
from holdfast.shared.scripts import Script, SessionScript, source
from holdfast.shared.settings import CommonSettings

_KINDS = (b"step:", b"mark:", b"question:")  # of fields in a journal; a newer version may write others


class LogWriter(SessionClaims):
    """Claims sessions, appends to their logs and keeps their journals, on behalf of a worker's attempts. The appends of
    all sessions of a server share a connection.

    Every call raises RedisError when its outcome is unknown, and may then be repeated with the same arguments."""

    def __init__(self, connections: LogConnections, settings: CommonSettings) -> None:
        super().__init__(connections, settings)
        self.log = EventLog(connections)
        self._append = Script(source("session", "append", prelude=False))
        self._finish = SessionScript(connections, "finish")
        self._ask = SessionScript(connections, "ask")
        self._rewind = SessionScript(connections, "rewind")
        self._journal = SessionScript(connections, "journal")
        self._spend = SessionScript(connections, "spend")

    async def append(self, session_id: str, epoch: int, after_seq: int, events: Sequence[Event]) -> Appended:
        """Append a batch after `after_seq`, all of it or nothing. Raises Fenced, LogBehind, LogGone, LogFull."""
        keys = session_keys(session_id)
        events = await self._sealed(session_id, EventId(epoch, after_seq + 1), events)
        flat = [part for event in events for part in event.field()]
        connection = await self._connections.connection_for(session_id).pipeline.connection_for(keys.log)
        now = asyncio.get_running_loop().time()
        fixed = (epoch, after_seq, self._settings.retention_events)
        reply = await unless_full(self._append.run(connection.execute_soon, (keys.log, keys.state), (*fixed, *flat)))
        raise_for(reply)
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
        if self._keyring.on:
            seal = self._keyring.seal_now(session_id)
            if seal is None:  # `append` loads the key
                asyncio.get_running_loop().call_soon(on_reply, AppendOutcome.REFUSED)
                return
            events = sealed(seal, first, events)
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
        event = (await self._sealed(session_id, EventId(epoch, after_seq + 1), [event]))[0]
        fixed = (epoch, after_seq, event.job_id, event.kind, event.body, usage)
        stored = await self._sealed_messages(session_id, messages)
        reply = await self._finish(session_id, (*fixed, self._settings.retention_seconds, MESSAGES_LIMIT, *stored))
        raise_for(reply)
        if reply[0] == b"ended":
            return Finished(None, head_of(reply[1:]))
        return Finished(int(reply[1]), head_of(reply[2:]))

    async def ask(self, session_id: str, epoch: int, after_seq: int, event: Event, question_id: str) -> int:
        """Append a question after `after_seq` and mark its job as waiting. Returns the newest seq.

        Until then the job's record has the prompt and the schema. Raises Fenced, LogBehind, LogGone, LogFull."""
        asked = orjson.loads(event.body)
        event = (await self._sealed(session_id, EventId(epoch, after_seq + 1), [event]))[0]
        fields = {"schema": encode(asked.get("schema", {})), "prompt": encode(asked.get("prompt"))}
        stored = await self._keyring.sealed(session_id, placed(event.job_id, fields))
        fixed = (epoch, after_seq, event.job_id, question_id, event.body, *stored)
        call = self._ask(session_id, fixed)
        reply = await unless_full(call)
        raise_for(reply)
        return int(reply[1])

    async def rewind(self, session_id: str, epoch: int, after_seq: int, event: Event, discard_from: EventId) -> int:
        """Append another start of the attempt after `after_seq`. It discards the job's events from an id on.

        Returns the newest seq. Raises Fenced, LogBehind, LogGone, LogFull."""
        event = (await self._sealed(session_id, EventId(epoch, after_seq + 1), [event]))[0]
        fixed = (epoch, after_seq, event.job_id, event.body, str(discard_from))
        reply = await unless_full(self._rewind(session_id, fixed))
        raise_for(reply)
        return int(reply[1])

    async def record(
        self, session_id: str, job_id: str, epoch: int, resume: EventId, outcomes: Sequence[Outcome]
    ) -> None:
        """Record results of steps in the journal of the running job. A takeover keeps the job's events below `resume`.

        Raises Fenced, LogGone, LogFull."""
        results = journaled(job_id, {f"step:{key}": value for key, value, _ in outcomes})
        values = await self._keyring.sealed(session_id, results)
        flat = [part for (key, _, mark), value in zip(outcomes, values, strict=True) for part in (key, value, mark)]
        raise_for(await unless_full(self._journal(session_id, (epoch, str(resume), *flat))))

    async def spend(self, session_id: str, epoch: int, spent: bytes) -> None:
        """Record what all attempts of the running job have used, see shared/budget.py. Raises Fenced, LogGone."""
        raise_for(await self._spend(session_id, (epoch, spent)))

    async def confirm(self, session_id: str, epoch: int) -> None:
        """Raise Fenced where another attempt has claimed the session."""
        known, job = await self._redis(session_id).hmget(session_keys(session_id).state, "epoch", "job")
        if job is None or known != b"%d" % epoch:
            raise Fenced

    async def recorded(self, session_id: str, job_id: str) -> Recorded:
        """Read the journal of the running job."""
        found = await self._redis(session_id).hgetall(session_keys(session_id).journal)
        known = {field.decode(): value for field, value in found.items() if field.startswith(_KINDS)}
        closed = {name: value for name, value in known.items() if not name.startswith("mark:")}
        opened = await self._keyring.opened(session_id, journaled(job_id, closed))
        known.update(zip(closed, opened, strict=True))
        of: dict[str, dict[str, bytes]] = {"step": {}, "mark": {}, "question": {}}
        for field, value in known.items():
            kind, _, name = field.partition(":")
            of[kind][name] = value
        return Recorded(of["step"], of["mark"], of["question"])

    async def _sealed(self, session_id: str, first: EventId, events: Sequence[Event]) -> Sequence[Event]:
        """Seal events whose ids follow each other from `first` on, where encryption is on."""
        return sealed(await self._keyring.seal_for(session_id), first, events) if self._keyring.on else events


def _xadd(session_id: str, entry_id: bytes, event: Event, *options: str | int) -> tuple[str | bytes | int, ...]:
    return "XADD", log_key(session_id), "NOMKSTREAM", *options, entry_id, *event.field()


def _outcome_of(reply: Any, expected_ids: bytes | list[bytes]) -> AppendOutcome:
    """Only the expected ids mean ADDED. A server without memory, one that discards a transaction, and a node of a
    cluster without the key added nothing."""
    if reply == expected_ids:
        return AppendOutcome.ADDED
    refused = isinstance(reply, ExecAbortError) or (
        isinstance(reply, ResponseError) and (is_full(reply) or redirect_of(reply) is not None)
    )
    return AppendOutcome.REFUSED if refused else AppendOutcome.UNKNOWN


def _renewed(replies: list[Any], last: EventId, permit: AppendPermit) -> Appended | None:
    entries, state = replies
    if any(isinstance(reply, RedisError) for reply in replies) or not entries:
        return None
    epoch, job, attention = state
    if entries[0][0] != str(last).encode() or epoch != b"%d" % last.epoch or job is None:
        return None
    return Appended(last.seq, bool(attention), permit)
