"""FastAPI dependencies: the state of the process and the checked parts of a request."""

from __future__ import annotations

import re
from typing import Annotated, Any, TypedDict, cast

from fastapi import Depends, Header, Path, Request
from holdfast.gateway.agent_catalog import AgentCatalog
from holdfast.gateway.cpu_slot import CpuSlot
from holdfast.gateway.limits import Body, read_json
from holdfast.gateway.metrics import Metrics
from holdfast.gateway.principal import Principal, Right, principal_of
from holdfast.gateway.readiness import Readiness
from holdfast.gateway.session_list import SessionList
from holdfast.gateway.settings import GatewaySettings
from holdfast.gateway.stream.hub import StreamHub
from holdfast.gateway.stream.subscriber import Subscriber
from holdfast.shared.errors import JobUnknown, RequestInvalid, SessionUnknown
from holdfast.shared.ids import SESSION_ID_PATTERN, check_session_id
from holdfast.shared.log.event_log import EventLog
from holdfast.shared.queue import Queue
from holdfast.shared.secret import Secret
from holdfast.shared.sessions import Sessions

_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")


class State(TypedDict):
    """The state of one gateway process, created by its lifespan."""

    settings: GatewaySettings
    sessions: Sessions
    log: EventLog
    queue: Queue
    agent_catalog: AgentCatalog
    subscriber: Subscriber
    hub: StreamHub
    readiness: Readiness
    metrics: Metrics
    session_list: SessionList
    secret: Secret
    cpu_slot: CpuSlot


async def _state(request: Request) -> State:
    return cast("State", request.state)


GatewayState = Annotated[State, Depends(_state)]


async def _caller(request: Request) -> Principal:
    return principal_of(request.scope)


Caller = Annotated[Principal, Depends(_caller)]


SessionPath = Annotated[str, Path(json_schema_extra={"pattern": SESSION_ID_PATTERN, "example": "tea-talk"})]
JobPath = Annotated[str, Path(json_schema_extra={"example": "rJ0x6nC3Qp2vW8aB"})]


async def _new_session(session_id: SessionPath) -> str:
    return check_session_id(session_id)


ChosenSession = Annotated[str, Depends(_new_session)]


def known_session(session_id: str, caller: Principal, right: Right) -> str:
    """Return the id of a session that should exist.

    Raises SessionUnknown if it is not a valid id, or if the caller does not have this right to the session."""
    try:
        check_session_id(session_id)
    except RequestInvalid:
        raise SessionUnknown from None
    if not caller.may(right, session_id):
        raise SessionUnknown
    return session_id


def _session_for(right: Right) -> Any:
    async def session(session_id: SessionPath, caller: Caller) -> str:
        return known_session(session_id, caller, right)

    return Depends(session)


ReadableSession = Annotated[str, _session_for("read")]
StoppableSession = Annotated[str, _session_for("stop")]
AnswerableSession = Annotated[str, _session_for("answer")]
DeletableSession = Annotated[str, _session_for("delete")]


def known_job(job_id: str) -> str:
    """Return the id of a job that should exist. Raises JobUnknown if it is not a valid id."""
    if _JOB_ID.fullmatch(job_id) is None:
        raise JobUnknown
    return job_id


async def _known_job(job_id: JobPath) -> str:
    return known_job(job_id)


KnownJob = Annotated[str, Depends(_known_job)]


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


def idempotency_key(request: Request) -> str | None:
    """Return the request's idempotency key, if it has one. Raises RequestInvalid if it is malformed."""
    given = request.headers.getlist("idempotency-key")
    if not given:
        return None
    if len(given) > 1 or _IDEMPOTENCY_KEY.fullmatch(given[0]) is None:
        raise RequestInvalid("Idempotency-Key", "must be a single header of 1 to 255 visible ASCII characters")
    return given[0]


IdempotencyKey = Annotated[str | None, Depends(_idempotency_key)]


async def _json_body(request: Request, state: GatewayState) -> Body:
    return await read_json(request, state["cpu_slot"])


JsonBody = Annotated[Body, Depends(_json_body)]
