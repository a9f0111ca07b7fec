"""Claim sessions, release them, and carry out what concerns a session as a whole."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from holdfast.shared.errors import DataKeyGone, Fenced, LogFull, MasterKeyMissing, SealBroken
from holdfast.shared.ids import parse_id
from holdfast.shared.job_record import MESSAGE, permitted, placed
from holdfast.shared.keys import session_keys
from holdfast.shared.log.conversation import MESSAGES_LIMIT
from holdfast.shared.log.endings import ENDINGS
from holdfast.shared.log.entries import name_of
from holdfast.shared.log.events import CANCELLED, DELETED, FAILED, encode
from holdfast.shared.log.log_replies import Attempt, Event, Intents, Refusal, Settled, head_of, raise_for, unless_full
from holdfast.shared.log.turns import TurnReader
from holdfast.shared.redis.client import Redis
from holdfast.shared.redis.log_connections import LogConnections
from holdfast.shared.scripts import Script, SessionScript, source
from holdfast.shared.settings import CommonSettings

CANCEL_PATIENCE_MS = 5000
DELETED_LOG_SECONDS = 60

# Called with jobs of a session that are about to end without an attempt, to drop their queue entries.
Retire = Callable[[Sequence[str]], Awaitable[None]]


class SessionClaims:
    """Claims sessions for attempts, and ends jobs that may not run or whose session has no attempt."""

    def __init__(self, connections: LogConnections, settings: CommonSettings) -> None:
        self._settings = settings
        self._connections = connections
        self._keyring = connections.keyring
        self._turns = TurnReader(connections)
        self._claim = SessionScript(connections, "claim")
        self._claim_end = SessionScript(connections, "claim", when_full=True)
        self._intents = Script(source("session", "intents"))
        self._release = SessionScript(connections, "release")
        self._forgive = SessionScript(connections, "forgive")
        self._settle = SessionScript(connections, "settle")
        self._close_record = SessionScript(connections, "close_record")

    async def claim(
        self,
        session_id: str,
        job_id: str,
        *,
        delivery: int,
        claim_id: str,
        worker_id: str,
        offered: bool,
        certain: bool = True,
    ) -> Attempt | Refusal:
        """Claim the session for one attempt at the job, or end the job when it may not run any more.

        `delivery`: the delivery number of the queue entry. `claim_id`: a random id of this claim, which makes it
        idempotent. `offered`: whether the worker has the job's agent. `certain`: whether the worker of the attempt
        before is known to be dead; otherwise the job does not end for a strike."""
        fixed = (job_id, delivery, claim_id, worker_id, secrets.randbelow(1000))
        if self._keyring.on:  # what cannot be encrypted is left to other workers
            await self._keyring.seal_for(session_id)
        try:
            reply = await self._claimed(session_id, job_id, (*fixed, int(offered)), self._claim, certain=certain)
        except LogFull:  # no attempt can start, but a job that must end still ends
            reply = await self._claimed(session_id, job_id, (*fixed, ""), self._claim_end, certain=certain)
        if reply[0] == b"run":
            return await self._attempt(session_id, job_id, claim_id, reply)
        return _refusal(reply[0].decode(), reply)

    async def end_lost(self, attempt: Attempt, reason: str = "log_lost") -> Refusal:
        """End a job whose log vanished, by a claim that creates the log again and appends the terminal event.

        `reason` is `log_lost`, `log_error` where the log exists and refused a write, `data_key_gone` or
        `seal_broken`."""
        fixed = (attempt.job_id, 0, attempt.claim_id, "", secrets.randbelow(1000), 1)
        ending = await self._ending(attempt.session_id, attempt.job_id, reason, by="", before=b"")
        reply = await self._claimed(attempt.session_id, attempt.job_id, fixed, self._claim_end, ending)
        return _refusal(reply[0].decode(), reply)

    async def close_record(self, session_id: str, event: Event, epoch: int | None = None) -> Refusal:
        """End a job in its record only, where its log cannot be read or written.

        `epoch`: that of the caller's attempt; None when the caller has none. The verdict is ended, unknown, or held (an
        attempt runs). Raises Fenced."""
        fixed = (event.job_id, "" if epoch is None else epoch, secrets.randbelow(1000))
        (body,) = await self._keyring.sealed(session_id, [(name_of(event.job_id, event.kind), event.body)])
        reply = await self._close_record(session_id, (*fixed, event.kind, body, self._settings.retention_seconds))
        raise_for(reply)
        return _refusal(reply[0].decode(), reply)

    async def _claimed(
        self,
        session_id: str,
        job_id: str,
        fixed: tuple[Any, ...],
        claim: SessionScript,
        ending: tuple[Any, ...] = (),
        *,
        certain: bool = True,
    ) -> list[bytes]:
        """Run the claim script; where the job may not run any more, run it again with the job's ending."""
        while True:
            reply = await unless_full(claim(session_id, (*fixed, *self._limits(), *ending)))
            if reply[0] != b"doomed":
                return reply
            _, reason, by, before = reply
            if reason == b"exhausted" and not certain:
                return [b"unsure"]
            ending = await self._ending(session_id, job_id, reason.decode(), by=by.decode(), before=before)

    async def intents(self, session_id: str, epoch: int) -> Intents:
        """Read the pending intents of the session. Raises Fenced."""
        keys = session_keys(session_id)
        connection = await self._connections.connection_for(session_id).pipeline.connection_for(keys.log)
        reply = await self._intents.run(connection.execute_soon, keys, (epoch,))
        raise_for(reply)
        texts = [part.decode() for part in reply[2:]]
        return Intents(dict(zip(texts[::2], texts[1::2], strict=True)), bool(reply[1]))

    async def is_deleted(self, session_id: str) -> bool:
        """Return whether the session is being deleted, or was deleted less than DELETED_LOG_SECONDS ago."""
        keys, redis = session_keys(session_id), self._redis(session_id)
        if await redis.hget(keys.state, "deleted") is not None:
            return True
        newest = await redis.xrevrange(keys.log, count=1)
        return bool(newest) and name_of("", DELETED).encode() in newest[0][1]

    async def release(self, session_id: str, epoch: int) -> None:
        """Release the session without a strike. Raises Fenced."""
        raise_for(await self._release(session_id, (epoch,)))

    async def forgive(self, attempt: Attempt) -> None:
        """Remove the strike for an attempt whose worker was found dead although it lived."""
        await self._forgive(attempt.session_id, (attempt.job_id, attempt.number))

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
            word, counted, *rest = await self._settle(session_id, arguments)
            count = int(counted)
            job_ids = [job_id.decode() for job_id in rest[:count]]
            if word == b"retire":
                retired = job_ids
                if retire is not None:
                    await retire(retired)
            elif word == b"turn":
                job_id = rest[0].decode()
                turn = [job_id, *await self._turn(session_id, job_id)]
            else:
                ended += job_ids
                if word != b"more":
                    return Settled(word == b"held", ended, head_of(rest[count:]))

    def _redis(self, session_id: str) -> Redis:
        return self._connections.connection_for(session_id).redis

    def _limits(self) -> tuple[int, ...]:
        settings = self._settings
        waits_ms = settings.queue_seconds * 1000, settings.ask_seconds * 1000
        return settings.max_attempts, *waits_ms, settings.retention_seconds, MESSAGES_LIMIT

    async def _ending(self, session_id: str, job_id: str, reason: str, *, by: str, before: bytes) -> tuple[Any, ...]:
        """Return the arguments with which a claim ends the job: reason, event, messages for the conversation."""
        messages = await self._turn(session_id, job_id) if before else []
        if reason == "cancelled":
            return reason, CANCELLED, b'"by":' + encode(by), *messages
        return reason, FAILED, b'"error":' + encode(ENDINGS[reason]), *messages

    async def _attempt(self, session_id: str, job_id: str, claim_id: str, reply: list[bytes]) -> Attempt | Refusal:
        """Return the attempt of a claim, with its values opened. A job whose data key is gone, or whose values were
        changed, ends.

        Raises MasterKeyMissing, after releasing the session."""
        attempt = _attempt(session_id, job_id, claim_id, reply)
        fields = {"input": attempt.input, "options": attempt.options, "metadata": attempt.metadata}
        fields |= {"client": attempt.client} if attempt.client else {}
        values = [permitted(job_id, attempt.agent, attempt.models), *placed(job_id, fields)]
        try:
            models, given, options, metadata, *client = await self._keyring.opened(session_id, values)
        except (DataKeyGone, SealBroken) as error:
            return await self.end_lost(attempt, error.code)
        except MasterKeyMissing:
            with suppress(Fenced):
                await self.release(session_id, attempt.epoch)
            raise
        return replace(attempt, input=given, options=options, metadata=metadata, models=models, client=b"".join(client))

    async def _turn(self, session_id: str, job_id: str) -> list[bytes]:
        """Return the messages of a job that ends without an attempt, as they are stored; none if its data key is
        gone or its input was changed."""
        with suppress(DataKeyGone, SealBroken):
            return await self._sealed_messages(session_id, await self._turns.read(session_id, job_id))
        return []

    async def _sealed_messages(self, session_id: str, messages: Sequence[bytes]) -> list[bytes]:
        return await self._keyring.sealed(session_id, [(MESSAGE, message) for message in messages])


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
        budget=reply[11],
        spent=reply[12],
        traceparent=reply[13].decode(),
        after=reply[14].decode(),
        models=reply[15],
        client=reply[16],
    )


def _refusal(word: str, reply: list[bytes]) -> Refusal:
    if word in ("stale", "parked"):
        return Refusal(word, delivery=int(reply[1]))
    return Refusal(word, head=head_of(reply[1:]))
