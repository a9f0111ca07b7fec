"""A session's two sides on a real server, with the short calls that tests of the log read well with."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import orjson
from holdfast.shared.ids import EventId
from holdfast.shared.keys import SessionKeys, session_keys
from holdfast.shared.log.conversation import Message
from holdfast.shared.log.event_log import EventLog
from holdfast.shared.log.log_replies import (
    Appended,
    AppendOutcome,
    AppendPermit,
    Attempt,
    Event,
    Finished,
    Outcome,
    Refusal,
)
from holdfast.shared.log.log_writer import LogWriter
from holdfast.shared.redis.log_connections import LogConnections, connect_logs
from holdfast.shared.sessions import JobRequest, Sessions, Submitted
from holdfast.shared.settings import CommonSettings


def request(**changes: Any) -> JobRequest:
    plain: dict[str, Any] = {
        "agent": "scripted",
        "input": b'"hello"',
        "options": b"{}",
        "metadata": b"{}",
        "timeout_s": 600,
        "on_busy": "queue",
        "idempotency_key": None,
        "digest": "d",
    }
    return JobRequest(**{**plain, **changes})


def delta(job_id: str, text: str) -> Event:
    return Event("text.delta", job_id, orjson.dumps({"type": "text.delta", "job_id": job_id, "text": text, "part": 0}))


def completed(job_id: str) -> Event:
    return Event("job.completed", job_id, orjson.dumps({"type": "job.completed", "job_id": job_id, "result": None}))


async def said(sessions: Sessions, session_id: str = "s") -> list[Message]:
    """The messages of a conversation, parsed."""
    return [orjson.loads(message) for message in (await sessions.messages(session_id)).messages]


class Session:
    """One session `s` on a server of its own. `redis` is for looking and for breaking things."""

    def __init__(self, logs: str | LogConnections, session_id: str = "s", **settings: Any) -> None:
        self.id = session_id
        self.logs = connect_logs(logs, max_connections=8, deadline_s=10) if isinstance(logs, str) else logs
        server = self.logs.connection_for(session_id)
        self.redis, self.pipeline = server.redis, server.pipeline
        common = CommonSettings(**settings)
        self.sessions = Sessions(self.logs, common)
        self.log_writer = LogWriter(self.logs, common)
        self.log = EventLog(self.logs)

    @property
    def keys(self) -> SessionKeys:
        return session_keys(self.id)

    async def submit(self, job_id: str = "j1", **changes: Any) -> Submitted:
        return await self.sessions.submit(self.id, job_id, request(**changes))

    async def try_claim(
        self, job_id: str = "j1", *, delivery: int = 1, claim_id: str | None = None, offered: bool = True
    ) -> Attempt | Refusal:
        claim_id = claim_id or secrets.token_hex(8)
        return await self.log_writer.claim(
            self.id, job_id, delivery=delivery, claim_id=claim_id, worker_id="w1", offered=offered
        )

    async def claim(self, job_id: str = "j1", *, delivery: int = 1) -> Attempt:
        claimed = await self.try_claim(job_id, delivery=delivery)
        assert isinstance(claimed, Attempt), claimed
        return claimed

    async def started(self, job_id: str = "j1") -> Attempt:
        """A job that is submitted and claimed."""
        await self.submit(job_id)
        return await self.claim(job_id)

    async def append(self, attempt: Attempt, after: int, *texts: str) -> Appended:
        events = [delta(attempt.job_id, text) for text in texts]
        return await self.log_writer.append(self.id, attempt.epoch, after, events)

    async def append_plain(self, permit: AppendPermit | None, first: EventId, *events: Event) -> AppendOutcome:
        """Append without the script, whether the permit still holds or not."""
        assert permit is not None
        answer: asyncio.Future[AppendOutcome] = asyncio.get_running_loop().create_future()
        self.log_writer.append_plain(permit, self.id, first, events, answer.set_result)
        return await answer

    async def renew_permit(self, permit: AppendPermit, last: EventId) -> Appended | None:
        answer: asyncio.Future[Appended | None] = asyncio.get_running_loop().create_future()
        self.log_writer.renew_permit(permit, self.id, last, answer.set_result)
        return await answer

    async def record(self, attempt: Attempt, value: bytes = b"1", resume: int = 2) -> None:
        """Record a step, behind which a takeover goes on at the seq `resume`."""
        outcomes = [Outcome("pay:0:abc", value, b"{}")]
        await self.log_writer.record(self.id, attempt.job_id, attempt.epoch, EventId(attempt.epoch, resume), outcomes)

    async def finish(self, attempt: Attempt, after: int, job_id: str | None = None) -> Finished:
        return await self.log_writer.finish(
            self.id, attempt.epoch, after, completed(job_id or attempt.job_id), messages=[], usage=b""
        )

    async def aclose(self) -> None:
        await self.logs.aclose()

    async def texts(self) -> list[str]:
        """The texts of all deltas in the log."""
        found = await self.redis.xrange(self.keys.log)
        events = [orjson.loads(next(iter(values.values()))) for _, values in found]
        return [event["text"] for event in events if event["type"] == "text.delta"]
