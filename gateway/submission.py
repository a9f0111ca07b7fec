"""Accepting a job: the one order of steps that every door shares. A crash between any two of them loses nothing."""

from __future__ import annotations

import base64
from collections.abc import Awaitable
from hashlib import sha256

import structlog

from gateway.dependencies import State
from shared.errors import IdempotencyMismatch, LogUnavailable, QueueFull, SessionBusy, SessionUnknown
from shared.failpoints import failpoint
from shared.ids import new_job_id, new_session_id
from shared.queue import Queue
from shared.redis import RedisError
from shared.sessions import JobRequest, Submitted

logger = structlog.get_logger()

# A cancelled attempt has 5 s to end; then a worker may claim over it.
STUCK_S = 6.0


def session_for(idempotency_key: str | None) -> str:
    """The id of a session that no client named: drawn, or derived from the key so that a repeat finds its job."""
    if idempotency_key is None:
        return new_session_id()
    digest = sha256(b"holdfast session\0" + idempotency_key.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


async def submit(state: State, session_id: str, request: JobRequest) -> Submitted:
    """Accept a job for good: first its token, due in some seconds, then the log, then the token is due at once.

    Raises what Queue.reserve and Sessions.submit refuse, and LogUnavailable, after which it may have been accepted."""
    job_id = new_job_id()
    try:
        failpoint("before_reserve")
        await state["queue"].reserve(session_id, job_id, request.agent)
        failpoint("after_reserve_before_submit")
        submitted = await state["sessions"].submit(session_id, job_id, request)
    except RedisError as error:
        logger.warning("redis does not answer a submit", session_id=session_id, job_id=job_id, error=repr(error))
        raise LogUnavailable(job_id) from None
    except (SessionBusy, SessionUnknown, IdempotencyMismatch, QueueFull):
        await hasten(state["queue"].discard(session_id, job_id, request.agent), job_id)
        raise
    state["metrics"].accepted.labels(str(submitted.replayed).lower()).inc()
    if submitted.replayed:
        await hasten(state["queue"].discard(session_id, job_id, request.agent), job_id)
    else:
        failpoint("after_submit_before_ready")
        await _start(state["queue"], session_id, request, submitted)
        failpoint("after_ready_before_answer")
    return submitted


async def ask_holder(queue: Queue, session_id: str, holder: str | None) -> None:
    """Tell the worker that holds the session of an intent; any worker when nobody does, and later, if it is stuck."""
    if holder is not None:
        await queue.notify(holder, session_id)
    await queue.nudge(session_id, delay_s=0 if holder is None else STUCK_S)


async def _start(queue: Queue, session_id: str, request: JobRequest, submitted: Submitted) -> None:
    """Start the job now, or have the one that it interrupts end now."""
    if submitted.position == 0:
        await hasten(queue.ready(session_id, submitted.job_id, request.agent), submitted.job_id)
    elif request.on_busy == "interrupt":
        await hasten(ask_holder(queue, session_id, submitted.notify), submitted.job_id)


async def hasten(call: Awaitable[None], job_id: str) -> None:
    """Take a step that only saves time: the log has decided, and the job's token comes due by itself."""
    try:
        await call
    except RedisError as error:
        logger.warning("redis does not answer; the token waits until it is due", job_id=job_id, error=repr(error))
