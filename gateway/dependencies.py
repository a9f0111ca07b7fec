"""What routes are given: the state that the lifespan made, and the parts of a request, checked."""

from __future__ import annotations

import re
from typing import Annotated, Any, TypedDict, cast

from fastapi import Depends, Header, Path, Query, Request

from gateway.errors import NotAcceptable
from gateway.limits import read_json
from gateway.metrics import Metrics
from gateway.offers import Offers
from gateway.readiness import Readiness
from gateway.settings import GatewaySettings
from gateway.stream.framing import Format, choose
from gateway.stream.hub import StreamHub
from shared.errors import CursorInvalid, JobUnknown, RequestInvalid, SessionUnknown
from shared.event_log import EventLog
from shared.ids import SESSION_ID_PATTERN, EventId, check_session_id, parse_cursor
from shared.queue import Queue
from shared.sessions import Sessions

MAX_CURSOR_BYTES = 64
_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_REFUSED = frozenset({"q=0", "q=0.0", "q=0.00", "q=0.000"})
_STREAMS = frozenset({"text/event-stream", "text/*", "application/x-ndjson", "application/*", "*/*"})


class State(TypedDict):
    """What one gateway process holds, from its start to its end."""

    settings: GatewaySettings
    sessions: Sessions
    log: EventLog
    queue: Queue
    offers: Offers
    hub: StreamHub
    readiness: Readiness
    metrics: Metrics


async def _state(request: Request) -> State:
    return cast("State", request.state)


GatewayState = Annotated[State, Depends(_state)]


async def authorize(request: Request) -> None:
    """The hook where a caller is told apart from others. Everybody may do everything."""


_SessionPath = Annotated[str, Path(json_schema_extra={"pattern": SESSION_ID_PATTERN, "example": "tea-talk"})]
_JobPath = Annotated[str, Path(json_schema_extra={"example": "rJ0x6nC3Qp2vW8aB"})]


async def _new_session(session_id: _SessionPath) -> str:
    return check_session_id(session_id)


ChosenSession = Annotated[str, Depends(_new_session)]


async def _known_session(session_id: _SessionPath) -> str:
    """No session has an id outside the grammar, and nothing else is said about it."""
    try:
        return check_session_id(session_id)
    except RequestInvalid:
        raise SessionUnknown from None


KnownSession = Annotated[str, Depends(_known_session)]


async def _known_job(job_id: _JobPath) -> str:
    if _JOB_ID.fullmatch(job_id) is None:
        raise JobUnknown
    return job_id


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
    given = request.headers.getlist("idempotency-key")
    if not given:
        return None
    if len(given) > 1 or _IDEMPOTENCY_KEY.fullmatch(given[0]) is None:
        raise RequestInvalid("Idempotency-Key", "one header of 1 to 255 visible ASCII characters")
    return given[0]


IdempotencyKey = Annotated[str | None, Depends(_idempotency_key)]


async def _json_body(request: Request, state: GatewayState) -> Any:
    return await read_json(request, state["settings"].max_body_bytes)


JsonBody = Annotated[Any, Depends(_json_body)]


async def _cursor(
    request: Request,
    _: Annotated[
        str, Header(alias="Last-Event-ID", description="The id of the last event processed; wins over the query")
    ] = "",
    __: Annotated[
        str,
        Query(
            alias="last_event_id",
            description="The same for clients that cannot set a header",
            examples=["1763683200123-2"],
        ),
    ] = "",
) -> EventId | None:
    given = _single(request.headers.getlist("last-event-id")) or _single(request.query_params.getlist("last_event_id"))
    return parse_cursor(given) if given else None


def _single(values: list[str]) -> str:
    if len(values) > 1 or any(len(value) > MAX_CURSOR_BYTES for value in values):
        raise CursorInvalid
    return values[0] if values else ""


Cursor = Annotated[EventId | None, Depends(_cursor)]


async def _stream_format(request: Request) -> Format:
    accept = request.headers.get("accept")
    if accept and not _STREAMS & _accepted(accept):
        raise NotAcceptable
    return choose(accept)


def _accepted(accept: str) -> set[str]:
    """The media ranges of an Accept header, without those that it rules out by q=0."""
    ranges = [part.lower().replace(" ", "").split(";") for part in accept.split(",")]
    return {kind for kind, *parameters in ranges if not _REFUSED & set(parameters)}


StreamFormat = Annotated[Format, Depends(_stream_format)]
