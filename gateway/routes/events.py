"""Reading events: of a session, for as long as the viewer stays, and of one job, to its end."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from gateway.dependencies import Cursor, GatewayState, KnownJob, KnownSession, State, StreamFormat, authorize
from gateway.routes.answers import problems
from gateway.stream.response import EventStream, refusal
from shared.errors import SessionUnknown
from shared.ids import EventId
from shared.redis import RedisError

router = APIRouter(tags=["events"], dependencies=[Depends(authorize)])

From = Annotated[Literal["now"] | None, Query(alias="from", description="Only what comes; a cursor wins over it")]
Raw = Annotated[bool, Query(description="No merging of deltas while catching up")]

_SSE_EXAMPLE = (
    'retry: 1000\n\nid: 1763683200123-2\ndata: {"type":"text.delta","job_id":"rJ0x6nC3Qp2vW8aB","text":"Hel"}\n\n'
)
_NDJSON_EXAMPLE = '{"id":"1763683200123-2","type":"text.delta","job_id":"rJ0x6nC3Qp2vW8aB","text":"Hel"}\n'
_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events as they are written. When Redis is away: a `retry:` and the end of the stream",
        "content": {
            "text/event-stream": {"schema": {"type": "string"}, "example": _SSE_EXAMPLE},
            "application/x-ndjson": {"schema": {"type": "string"}, "example": _NDJSON_EXAMPLE},
        },
    },
    204: {"description": "Nothing comes after this cursor; an EventSource stops here"},
    **problems(400, 404, 406, 422, 503),
}


@router.get("/v1/sessions/{session_id}/events", responses=_EVENTS, response_class=Response)
async def session_events(
    state: GatewayState,
    session_id: KnownSession,
    cursor: Cursor,
    accepted: StreamFormat,
    start: From = None,
    raw: Raw = False,
) -> Response:
    """The session's events across its jobs, for as long as the viewer stays."""
    try:
        if await _deleted_before(state, session_id, cursor):
            return Response(status_code=204)
    except RedisError:
        return refusal(accepted)
    from_now = start == "now" and cursor is None
    return EventStream(state["hub"], session_id, cursor=cursor, from_now=from_now, raw=raw, format=accepted)


async def _deleted_before(state: State, session_id: str, cursor: EventId | None) -> bool:
    """Whether the cursor is the last event of a session that was deleted. Raises SessionUnknown.

    In the minute after the deletion a viewer that was there before may still come for its `session.deleted`."""
    if await state["sessions"].exists(session_id):
        return False
    last = await state["log"].last(session_id)
    if cursor is None or last is None:
        raise SessionUnknown
    return cursor >= last.id


@router.get("/v1/sessions/{session_id}/jobs/{job_id}/events", responses=_EVENTS, response_class=Response)
async def job_events(
    state: GatewayState,
    session_id: KnownSession,
    job_id: KnownJob,
    cursor: Cursor,
    accepted: StreamFormat,
    start: From = None,
    raw: Raw = False,
) -> Response:
    """One job's events; the stream ends after its terminal event."""
    try:
        job = await state["sessions"].job(session_id, job_id)
    except RedisError:
        return refusal(accepted)
    from_now = start == "now" and cursor is None
    return EventStream(state["hub"], session_id, cursor=cursor, from_now=from_now, raw=raw, format=accepted, job=job)
