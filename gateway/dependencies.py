"""FastAPI dependencies: the state of the process and the checked parts of a request."""

from __future__ import annotations

import re
from typing import Annotated, Any, TypedDict, cast

from fastapi import Depends, Header, Path, Query, Request
from holdfast.gateway.agent_catalog import AgentCatalog
from holdfast.gateway.authentication.auth_watch import AuthWatch
from holdfast.gateway.client_address import client_address
from holdfast.gateway.deployment import Deployment
from holdfast.gateway.limits import Body, CpuSlot, read_json
from holdfast.gateway.metrics import Metrics
from holdfast.gateway.operation import Operation
from holdfast.gateway.principal import Principal, Right, principal_of
from holdfast.gateway.request_rates import RateLimits
from holdfast.gateway.session_list import SessionList
from holdfast.gateway.settings import GatewaySettings
from holdfast.gateway.stream.hub import StreamHub
from holdfast.gateway.stream.subscriber import Subscriber
from holdfast.shared.auth_store import AuthStore
from holdfast.shared.day_usage import DayUsage
from holdfast.shared.errors import JobUnknown, RequestInvalid, SessionUnknown
from holdfast.shared.ids import SESSION_ID_PATTERN, check_session_id
from holdfast.shared.job_requests import JobRequests
from holdfast.shared.log.event_log import EventLog
from holdfast.shared.log.ticket_series import TicketSeries
from holdfast.shared.queue import Queue
from holdfast.shared.secret import Secret
from holdfast.shared.sessions import Sessions
from starlette.types import Scope

_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_ACTIVITY = re.compile(r"[1-9][0-9]{0,15}")


class State(TypedDict):
    """The state of one gateway process, created by its lifespan."""

    settings: GatewaySettings
    sessions: Sessions
    log: EventLog
    job_requests: JobRequests
    queue: Queue
    day_usage: DayUsage
    agent_catalog: AgentCatalog
    subscriber: Subscriber
    hub: StreamHub
    operation: Operation
    deployment: Deployment
    metrics: Metrics
    session_list: SessionList
    secret: Secret
    cpu_slot: CpuSlot
    auth_store: AuthStore
    auth_watch: AuthWatch
    ticket_series: TicketSeries
    rate_limits: RateLimits


async def _state(request: Request) -> State:
    return cast("State", request.state)


GatewayState = Annotated[State, Depends(_state)]


async def _caller(request: Request) -> Principal:
    return principal_of(request.scope)


Caller = Annotated[Principal, Depends(_caller)]


SessionPath = Annotated[str, Path(json_schema_extra={"pattern": SESSION_ID_PATTERN, "example": "tea-talk"})]
JobPath = Annotated[str, Path(json_schema_extra={"example": "rJ0x6nC3Qp2vW8aB"})]


async def _new_session(session_id: SessionPath, caller: Caller) -> str:
    return caller.complete(check_session_id(session_id))


ChosenSession = Annotated[str, Depends(_new_session)]


def known_session(session_id: str, caller: Principal, right: Right) -> str:
    """Return the complete id of a session of the caller that should exist.

    Raises SessionUnknown if it is not a valid id, or not one that the caller may know of; Forbidden without this
    right."""
    complete = named_session(session_id, caller, right)
    if caller.session_deleted:
        raise SessionUnknown
    return complete


def named_session(session_id: str, caller: Principal, right: Right) -> str:
    """Return the complete id of a session as `known_session` does, also one that the caller's ticket has outlived."""
    try:
        check_session_id(session_id)
    except RequestInvalid:
        raise SessionUnknown from None
    complete = caller.complete(session_id)
    caller.check(right)
    return complete


def _session_for(right: Right) -> Any:
    async def session(session_id: SessionPath, caller: Caller) -> str:
        return known_session(session_id, caller, right)

    return Depends(session)


def address_of(scope: Scope) -> str:
    """Return the client's address."""
    state: State = scope["state"]
    return client_address(scope, state["settings"].trusted_networks)


ReadableSession = Annotated[str, _session_for("read")]
SubmittableSession = Annotated[str, _session_for("submit")]
StoppableSession = Annotated[str, _session_for("stop")]
AnswerableSession = Annotated[str, _session_for("answer")]
DeletableSession = Annotated[str, _session_for("delete")]
TicketedSession = Annotated[str, _session_for("ticket")]


def known_job(job_id: str) -> str:
    """Return the id of a job that should exist. Raises JobUnknown if it is not a valid id."""
    if _JOB_ID.fullmatch(job_id) is None:
        raise JobUnknown
    return job_id


async def _known_job(job_id: JobPath) -> str:
    return known_job(job_id)


KnownJob = Annotated[str, Depends(_known_job)]


PageLimit = Annotated[int, Query(ge=1, le=100, description="Maximum number of items")]
_Cursor = Annotated[str, Query(description="`next` of the previous page; empty for the first page")]
_CURSOR_ALLOWED = "must be the `next` of another page, unchanged, or be left out for the first page"


async def _job_cursor(cursor: _Cursor = "") -> str | None:
    try:
        return known_job(cursor) if cursor else None
    except JobUnknown:
        raise RequestInvalid("cursor", _CURSOR_ALLOWED) from None


JobCursor = Annotated[str | None, Depends(_job_cursor)]


async def _session_cursor(cursor: _Cursor = "") -> int | None:
    if cursor and _ACTIVITY.fullmatch(cursor) is None:
        raise RequestInvalid("cursor", _CURSOR_ALLOWED)
    return int(cursor) if cursor else None


SessionCursor = Annotated[int | None, Depends(_session_cursor)]


def idempotency_key(request: Request) -> str | None:
    """Return the Idempotency-Key of a request. Raises RequestInvalid."""
    given = request.headers.getlist("idempotency-key")
    if not given:
        return None
    if len(given) > 1 or not is_idempotency_key(given[0]):
        raise RequestInvalid("Idempotency-Key", "must be a single header of 1 to 255 visible ASCII characters")
    return given[0]


async def _idempotency_key(
    request: Request,
    _: Annotated[
        str,
        Header(
            alias="Idempotency-Key",
            description="1 to 255 visible ASCII characters. The same key returns the first job",
            json_schema_extra={"pattern": "^[\\x21-\\x7e]{1,255}$"},
        ),
    ] = "",
) -> str | None:
    return idempotency_key(request)


def is_idempotency_key(given: str) -> bool:
    """Return whether this is 1 to 255 visible ASCII characters."""
    return _IDEMPOTENCY_KEY.fullmatch(given) is not None


IdempotencyKey = Annotated[str | None, Depends(_idempotency_key)]


async def _json_body(request: Request, state: GatewayState) -> Body:
    return await read_json(request, state["cpu_slot"])


JsonBody = Annotated[Body, Depends(_json_body)]


async def _optional_json_body(request: Request, state: GatewayState) -> Body | None:
    fields = request.headers
    if fields.get("content-length", "0") == "0" and "transfer-encoding" not in fields:
        return None
    return await read_json(request, state["cpu_slot"])


OptionalJsonBody = Annotated[Body | None, Depends(_optional_json_body)]
