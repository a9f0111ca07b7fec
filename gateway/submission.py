"""Submission of jobs, for all routes. A crash between any two steps loses no accepted job."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Awaitable

import structlog
from holdfast.gateway.dependencies import State
from holdfast.gateway.limits import Body
from holdfast.gateway.principal import Principal
from holdfast.gateway.routes.job_body import job_request, parse_job_body, with_key
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
from holdfast.shared.redis.client import RedisError
from holdfast.shared.sessions import Intent, JobRequest, Submitted

logger = structlog.get_logger()

# A cancelled attempt has 5 s to end; then another worker may take the session over.
STUCK_AFTER_S = 6.0

ENDED = frozenset({"completed", "failed", "cancelled"})


async def session_id_for(state: State, idempotency_key: str | None) -> str:
    """Return the id of a new session: random, or derived from the idempotency key so that a repeated request finds its
    job. Raises RedisError."""
    if idempotency_key is None:
        return new_session_id()
    return derived_session_id(await state["secret"].read(), idempotency_key)


def derived_session_id(secret: bytes, idempotency_key: str) -> str:
    """Derive a session id from an idempotency key. It cannot be guessed from the key without the secret."""
    mac = hmac.digest(secret, b"session\0" + idempotency_key.encode(), "sha256")
    return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()


async def submit(state: State, caller: Principal, session_id: str, body: Body, key: str | None) -> Submitted:
    """Check the body of a job (JobBody) and accept it. Raises BodyInvalid, and the errors of `accept`."""
    cpu_slot, size = state["cpu_slot"], body.size
    parsed = await cpu_slot.run(size, parse_job_body, body.value)
    request = await cpu_slot.run(size, job_request, parsed)
    if key is not None:
        request = await cpu_slot.run(size, with_key, request, parsed, key)
    return await accept(state, caller, session_id, request, Body(parsed.input, size))


async def accept(state: State, caller: Principal, session_id: str, request: JobRequest, given: Body) -> Submitted:
    """Accept a job durably, or return the job that was accepted with the same idempotency key.

    Args:
        given: the input of the job.

    Raises:
        AgentUnknown: no worker offers the agent.
        BodyInvalid: the agent's schema does not allow the input.
        LogUnavailable: Redis is unavailable; the job may have been accepted.
        SessionUnknown: the caller may not submit to the session, or the session is being deleted.
        HoldfastError: an error of Queue.reserve or Sessions.submit.
    """
    if not caller.may("submit", session_id):
        raise SessionUnknown
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
        logger.warning("redis unavailable during a submission", session_id=session_id, job_id=job_id, error=repr(error))
        raise LogUnavailable(job_id) from None
    state["metrics"].accepted.labels(str(submitted.replayed).lower()).inc()
    return submitted


async def _find_replay(state: State, session_id: str, request: JobRequest) -> Submitted | None:
    """Return the job that was accepted with the same key, if any. Raises IdempotencyMismatch, RedisError."""
    return None if request.idempotency_key is None else await state["sessions"].first(session_id, request)


async def _submit(state: State, session_id: str, job_id: str, request: JobRequest) -> Submitted:
    """Reserve a queue entry that becomes visible later, accept the job in the log, then make the entry visible.

    Raises RedisError, and the errors of Queue.reserve and Sessions.submit."""
    try:
        failpoint("before_reserve")
        await state["queue"].reserve(session_id, job_id, request.agent)
        failpoint("after_reserve_before_submit")
        submitted = await state["sessions"].submit(session_id, job_id, request)
    except (SessionBusy, SessionUnknown, IdempotencyMismatch, QueueFull, SchemaNewer):
        await best_effort(state["queue"].discard(session_id, job_id, request.agent), session_id, job_id)
        raise
    if submitted.replayed:
        await best_effort(state["queue"].discard(session_id, job_id, request.agent), session_id, job_id)
    else:
        failpoint("after_submit_before_ready")
        await _make_ready(state["queue"], session_id, request, submitted)
        failpoint("after_ready_before_answer")
    return submitted


async def cancel(state: State, session_id: str, job_id: str) -> Intent:
    """Cancel a job, unless it has ended. Raises SessionUnknown, JobUnknown, RedisError."""
    intent = await state["sessions"].cancel(session_id, job_id)
    if intent.status not in ENDED:
        await best_effort(notify_owner(state["queue"], session_id, intent.lease_owner), session_id, job_id)
    return intent


async def notify_owner(queue: Queue, session_id: str, owner: str | None) -> None:
    """Notify the lease owner of a session of an intent.

    A control entry for any worker covers a missing or stuck owner: it is visible immediately without an owner, else
    after STUCK_AFTER_S."""
    await queue.add_control_entry(session_id, delay_s=0 if owner is None else STUCK_AFTER_S)
    if owner is not None:
        await queue.notify(owner, session_id)


async def _make_ready(queue: Queue, session_id: str, request: JobRequest, submitted: Submitted) -> None:
    """Make the job visible now, or notify the owner of the job that it interrupts."""
    if submitted.position == 0:
        await best_effort(queue.make_ready(session_id, submitted.job_id, request.agent), session_id, submitted.job_id)
    elif request.on_busy == "interrupt":
        await best_effort(notify_owner(queue, session_id, submitted.notify), session_id, submitted.job_id)


async def best_effort(call: Awaitable[None], session_id: str, job_id: str | None = None) -> None:
    """Await a queue update that only saves time; a delayed queue entry covers a failure."""
    try:
        await call
    except RedisError as error:
        logger.warning(
            "queue update failed; a delayed entry covers it", session_id=session_id, job_id=job_id, error=repr(error)
        )
