"""Submission of jobs, for all routes. A crash between any two steps loses no accepted job."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Awaitable, Iterator
from dataclasses import replace
from hashlib import sha256
from typing import Any

import orjson
import structlog
from holdfast.gateway.agent_input import check_input
from holdfast.gateway.dependencies import State
from holdfast.gateway.limits import Body
from holdfast.gateway.principal import Principal
from holdfast.gateway.routes.job_body import job_request, parse_job_body, with_key
from holdfast.gateway.webhooks import webhook_json
from holdfast.shared.budget import Amounts, read_amounts, write_amounts
from holdfast.shared.errors import (
    AgentUnknown,
    HoldfastError,
    IdempotencyMismatch,
    JobUnknown,
    LogUnavailable,
    QueueFull,
    RequestInvalid,
    SessionBusy,
    SessionUnknown,
    UnreadableHere,
)
from holdfast.shared.failpoints import failpoint
from holdfast.shared.ids import new_job_id, new_session_id
from holdfast.shared.offered_agents import unknown
from holdfast.shared.owner import complete_id, tenant_of
from holdfast.shared.queue import Queue
from holdfast.shared.redis.errors import RedisError
from holdfast.shared.sessions import JobRequest, Submitted
from holdfast.shared.trace_context import TRACEPARENT, trace_keys
from holdfast.shared.tracing import span_attributes, start_span

logger = structlog.get_logger()

# A cancelled attempt has 5 s to end; then another worker may take the session over.
STUCK_AFTER_S = 6.0


async def session_id_for(state: State, caller: Principal, idempotency_key: str | None) -> str:
    """Return the complete id of a new session: random, or derived from the owner and the idempotency key so that a
    repeated request finds its job. Raises RedisError, and SessionUnknown for a ticket, which is for another session."""
    if idempotency_key is None:
        return caller.complete(new_session_id())
    secret = await state["secret"].read()
    return caller.complete(derived_session_id(secret, complete_id(caller.owner, idempotency_key)))


def derived_session_id(secret: bytes, idempotency_key: str) -> str:
    """Derive a session id from an idempotency key. It cannot be guessed from the key without the secret."""
    mac = hmac.digest(secret, b"session\0" + idempotency_key.encode(), "sha256")
    return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()


async def submit(state: State, caller: Principal, session_id: str, body: Body, key: str | None) -> Submitted:
    """Check the body of a job (JobBody) and accept it. Raises BodyInvalid, and the errors of `accept`."""
    cpu_slot, size = state["cpu_slot"], body.size
    parsed = await cpu_slot.run(size, parse_job_body, body.value)
    request = await cpu_slot.run(size, job_request, parsed)
    if parsed.webhook is not None:
        request = replace(request, webhook=webhook_json(parsed.webhook, state["settings"]))
    if key is not None:
        request = await cpu_slot.run(size, with_key, request, parsed, key)
    return await accept(state, caller, session_id, request, Body(parsed.input, size))


async def submit_again(state: State, caller: Principal, session_id: str, job_id: str, key: str | None) -> Submitted:
    """Accept a new job with what was submitted with this one. Raises JobUnknown, and the errors of `accept`."""
    request = await state["job_requests"].of(session_id, job_id)
    digest = sha256(f"retry {job_id}".encode()).hexdigest()
    request = replace(request, idempotency_key=key, digest=digest if key is not None else "")
    given = await state["cpu_slot"].run(len(request.input), orjson.loads, request.input)
    return await accept(state, caller, session_id, request, Body(given, len(request.input)))


async def accept(state: State, caller: Principal, session_id: str, request: JobRequest, given: Body) -> Submitted:
    """Accept a job durably, or return the job that was accepted with the same idempotency key.

    Args:
        given: the input of the job.

    Raises:
        AgentUnknown: no worker offers the agent.
        BodyInvalid: the agent's schema does not allow the input.
        RequestInvalid: the budget is above the deployment's, or the options name a model that the tenant may not use.
        DayBudgetExhausted: the tenant has used up its budget of this day.
        LogUnavailable: Redis is unavailable; the job may have been accepted.
        Forbidden: the caller may not submit jobs.
        SessionUnknown: the session is being deleted.
        JobUnknown: the session has no job with the id of `after`.
        HoldfastError: an error of Queue.reserve or Sessions.submit.
    """
    keys = {"session_id": session_id, "agent": request.agent}
    span = start_span("submit job", "server", TRACEPARENT.get(), span_attributes(keys))
    try:
        submitted = await _accept(state, caller, session_id, replace(request, traceparent=span.traceparent), given)
        keys["job_id"] = submitted.job_id
        span.set(span_attributes({**keys, "replayed": submitted.replayed}))
        state["metrics"].accepted.labels(str(submitted.replayed).lower()).inc()
        # Before a worker can log the job's start.
        logger.info("job accepted", **keys, replayed=submitted.replayed, **trace_keys(span.traceparent))
        if not submitted.replayed:
            await _make_ready(state["queue"], session_id, request, submitted)
    except BaseException as error:
        span.end(error.code if isinstance(error, HoldfastError) else type(error).__name__)
        raise
    span.end()
    return submitted


async def _accept(state: State, caller: Principal, session_id: str, request: JobRequest, given: Body) -> Submitted:
    caller.check("submit")
    if not caller.may_use(request.agent):
        raise unknown(request.agent)
    models = _checked_models(caller, request)
    budget = budget_within(request.budget, state["settings"].job_limits)
    request = replace(request, budget=budget, models=models)
    job_id = new_job_id()
    try:
        submitted = await _find_replay(state, session_id, request)
        if submitted is None:
            await state["day_usage"].check(tenant_of(session_id))
            schema = await state["agent_catalog"].schema(request.agent)
            await state["cpu_slot"].run(given.size, check_input, given.value, schema)
            submitted = await _submit(state, session_id, job_id, request)
    except AgentUnknown as error:
        raise state["agent_catalog"].refusal(request.agent, error) from None
    except RedisError as error:
        logger.warning("redis unavailable during a submission", session_id=session_id, job_id=job_id, error=repr(error))
        raise LogUnavailable(job_id) from None
    return submitted


def _checked_models(caller: Principal, request: JobRequest) -> bytes:
    """Return the models that the caller's tenant may use, for the job's record. The worker checks every name against
    them; this refuses earlier what the usual options name. Raises RequestInvalid."""
    if caller.models is None:
        return b""
    models = sorted(caller.models)
    for field, name in _named_models(orjson.loads(request.options)):
        if name not in models:
            raise RequestInvalid(f"options.{field}", f"must be one of {', '.join(models)}")
    return orjson.dumps(models)


def _named_models(options: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Return each value that stands for a model, with its option."""
    if options.get("model") is not None:
        yield "model", options["model"]
    fallbacks = options.get("on_failure")
    for name in fallbacks if isinstance(fallbacks, list) else [fallbacks]:
        if name not in (None, "fail", "non_streamed"):
            yield "on_failure", name


def budget_within(asked: bytes, limits: Amounts) -> bytes:
    """Return the budget of a job: what its body asks for, and the deployment's limits for the rest.

    Raises RequestInvalid where it asks for more."""
    budget = read_amounts(asked)
    for name, limit in limits.items():
        if budget.get(name, 0) > limit:
            raise RequestInvalid(f"budget.{name}", f"must be at most {limit:g}")
    return write_amounts(limits | budget) if limits or budget else b""


async def _find_replay(state: State, session_id: str, request: JobRequest) -> Submitted | None:
    """Return the job that was accepted with the same key, if any. Raises IdempotencyMismatch, RedisError."""
    return None if request.idempotency_key is None else await state["sessions"].first(session_id, request)


async def _submit(state: State, session_id: str, job_id: str, request: JobRequest) -> Submitted:
    """Reserve a queue entry that becomes visible later, and accept the job in the log.

    Raises RedisError, and the errors of Queue.reserve and Sessions.submit."""
    try:
        failpoint("before_reserve")
        await state["queue"].reserve(session_id, job_id, request.agent, webhook=bool(request.webhook))
        failpoint("after_reserve_before_submit")
        submitted = await state["sessions"].submit(session_id, job_id, request)
    except (SessionBusy, SessionUnknown, JobUnknown, IdempotencyMismatch, QueueFull, UnreadableHere):
        await best_effort(state["queue"].discard(session_id, job_id, request.agent), session_id, job_id)
        raise
    if submitted.replayed:
        await best_effort(state["queue"].discard(session_id, job_id, request.agent), session_id, job_id)
    return submitted


async def notify_owner(queue: Queue, session_id: str, owner: str | None) -> None:
    """Notify the lease owner of a session of an intent.

    A control entry for any worker covers a missing or stuck owner: it is visible immediately without an owner, else
    after STUCK_AFTER_S."""
    await queue.add_control_entry(session_id, delay_s=0 if owner is None else STUCK_AFTER_S)
    if owner is not None:
        await queue.notify(owner, session_id)


async def _make_ready(queue: Queue, session_id: str, request: JobRequest, submitted: Submitted) -> None:
    """Make the job visible now, or notify the owner of the job that it interrupts."""
    failpoint("after_submit_before_ready")
    if submitted.position == 0:
        await best_effort(queue.make_ready(session_id, submitted.job_id, request.agent), session_id, submitted.job_id)
    elif request.on_busy == "interrupt":
        await best_effort(notify_owner(queue, session_id, submitted.notify), session_id, submitted.job_id)
    failpoint("after_ready_before_answer")


async def best_effort(call: Awaitable[None], session_id: str, job_id: str | None = None) -> None:
    """Await a queue update that only saves time; a delayed queue entry covers a failure."""
    try:
        await call
    except RedisError as error:
        logger.warning(
            "queue update failed; a delayed entry covers it", session_id=session_id, job_id=job_id, error=repr(error)
        )
