"""Accepting a job: the one order of steps that every door shares. A crash between any two of them loses nothing."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Awaitable

import structlog
from holdfast.gateway.dependencies import State
from holdfast.gateway.limits import Body
from holdfast.gateway.schema import check
from holdfast.shared.errors import (
    AgentUnknown,
    IdempotencyMismatch,
    LogUnavailable,
    QueueFull,
    SchemaNewer,
    SessionBusy,
    SessionUnknown,
)
from holdfast.shared.failpoints import failpoint
from holdfast.shared.ids import new_job_id, new_session_id
from holdfast.shared.queue import Queue
from holdfast.shared.redis import RedisError
from holdfast.shared.sessions import JobRequest, Submitted

logger = structlog.get_logger()

# A cancelled attempt has 5 s to end; then a worker may claim over it.
STUCK_AFTER_S = 6.0


async def session_id_for(state: State, idempotency_key: str | None) -> str:
    """The id of a session that no client named: random, or derived from the key so that a repeat finds its job. Raises
    RedisError."""
    if idempotency_key is None:
        return new_session_id()
    return derived_session_id(await state["secret"].read(), idempotency_key)


def derived_session_id(secret: bytes, idempotency_key: str) -> str:
    """Unguessable for whoever knows the key alone."""
    mac = hmac.digest(secret, b"session\0" + idempotency_key.encode(), "sha256")
    return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()


async def accept(state: State, session_id: str, request: JobRequest, given: Body) -> Submitted:
    """Accept a job for good, or find the one that its idempotency key stands for, whatever has become of agent and
    queue since. `given` is its input.

    Raises AgentUnknown, BodyInvalid, what Queue.reserve and Sessions.submit refuse, and LogUnavailable, after which it
    may have been accepted."""
    job_id = new_job_id()
    try:
        submitted = await _find_replay(state, session_id, request)
        if submitted is None:
            schema = await state["agent_catalog"].schema(request.agent)
            await state["cpu_slot"].run(given.size, check, given.value, schema, "input")
            submitted = await _submit(state, session_id, job_id, request)
    except AgentUnknown as error:
        raise state["agent_catalog"].refusal(request.agent, error) from None
    except RedisError as error:
        logger.warning("redis does not answer a submit", session_id=session_id, job_id=job_id, error=repr(error))
        raise LogUnavailable(job_id) from None
    state["metrics"].accepted.labels(str(submitted.replayed).lower()).inc()
    return submitted


async def _find_replay(state: State, session_id: str, request: JobRequest) -> Submitted | None:
    """The job that was accepted with the same key. Raises IdempotencyMismatch, RedisError."""
    return None if request.idempotency_key is None else await state["sessions"].first(session_id, request)


async def _submit(state: State, session_id: str, job_id: str, request: JobRequest) -> Submitted:
    """Submit a job in an order that loses nothing: its token, due in some seconds, then the log, then the token is due
    at once. Raises RedisError, and what Queue.reserve and Sessions.submit refuse."""
    try:
        failpoint("before_reserve")
        await state["queue"].reserve(session_id, job_id, request.agent)
        failpoint("after_reserve_before_submit")
        submitted = await state["sessions"].submit(session_id, job_id, request)
    except (SessionBusy, SessionUnknown, IdempotencyMismatch, QueueFull, SchemaNewer):
        await best_effort(state["queue"].discard(session_id, job_id, request.agent), job_id)
        raise
    if submitted.replayed:
        await best_effort(state["queue"].discard(session_id, job_id, request.agent), job_id)
    else:
        failpoint("after_submit_before_ready")
        await _make_ready(state["queue"], session_id, request, submitted)
        failpoint("after_ready_before_answer")
    return submitted


async def notify_owner(queue: Queue, session_id: str, holder: str | None) -> None:
    """Tell the worker that holds the session of an intent; any worker when nobody does, and later, if it is stuck."""
    await queue.nudge(session_id, delay_s=0 if holder is None else STUCK_AFTER_S)
    if holder is not None:  # only saves time
        await queue.notify(holder, session_id)


async def _make_ready(queue: Queue, session_id: str, request: JobRequest, submitted: Submitted) -> None:
    """Start the job now, or have the one that it interrupts end now."""
    if submitted.position == 0:
        await best_effort(queue.ready(session_id, submitted.job_id, request.agent), submitted.job_id)
    elif request.on_busy == "interrupt":
        await best_effort(notify_owner(queue, session_id, submitted.notify), submitted.job_id)


async def best_effort(call: Awaitable[None], job_id: str) -> None:
    """Take a step that only saves time: the log has decided, and the job's token comes due by itself."""
    try:
        await call
    except RedisError as error:
        logger.warning("redis does not answer; the token waits until it is due", job_id=job_id, error=repr(error))
