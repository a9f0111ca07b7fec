"""Routes of event streams: of a session, without end, and of one job, up to its end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from operator import attrgetter
from typing import Any

from fastapi import APIRouter, Request
from holdfast.gateway.coding import stream_coding
from holdfast.gateway.dependencies import JobPath, SessionPath, State, known_job
from holdfast.gateway.dialects.event_dialect import EventDialect
from holdfast.gateway.dialects.registry import DIALECTS
from holdfast.gateway.routes.schemas import problems
from holdfast.gateway.routes.session_stream import open_session, without_session
from holdfast.gateway.routes.stream_route import PARAMETERS, StreamRoute, read_stream_request
from holdfast.gateway.stream.response import EventStream
from holdfast.gateway.stream.viewer import StreamRequest, retry_ms
from holdfast.shared.errors import SessionUnknown, UnreadableHere
from holdfast.shared.job_record import JobState
from holdfast.shared.redis.errors import RedisError
from starlette.responses import Response
from starlette.types import ASGIApp

router = APIRouter(tags=["events"], route_class=StreamRoute, generate_unique_id_function=attrgetter("name"))

_EXAMPLE = b"1763683200123-2", b'{"type":"text.delta","job_id":"rJ0x6nC3Qp2vW8aB","text":"Hel","part":0}'


def example_content(dialects: Iterable[EventDialect]) -> dict[str, Any]:
    """Describe the beginning of a stream in each dialect for OpenAPI."""
    return {
        dialect.media_type: {
            "schema": {"type": "string"},
            "example": (dialect.opening + dialect.frame(*_EXAMPLE)).decode(errors="replace"),
        }
        for dialect in dialects
    }


_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events as they are appended. If Redis is unavailable: a `retry:` field and the end",
        "content": example_content(reversed(DIALECTS)),
    },
    204: {"description": "No events follow this cursor. An EventSource stops reconnecting"},
    **problems(400, 404, 406, 410, 422, 503),
}


_stream = partial(
    router.get,
    responses=_EVENTS,
    openapi_extra={"parameters": PARAMETERS},
    response_class=Response,
    response_model=None,
)


@_stream("/v1/sessions/{session_id}/events")
async def session_events(request: Request, session_id: SessionPath) -> ASGIApp:
    """Stream the events of a session, across its jobs, until the client disconnects."""
    stream_request = read_stream_request(request, session_id)
    state: State = request.scope["state"]
    coding = stream_coding(request.scope["headers"], state["settings"].compress, ends=False)
    return await open_session(state, stream_request, partial(EventStream, state["hub"], coding=coding))


@_stream("/v1/sessions/{session_id}/jobs/{job_id}/events")
async def job_events(request: Request, session_id: SessionPath, job_id: JobPath) -> ASGIApp:
    """Stream the events of a job. The stream ends after its terminal event."""
    stream_request = read_stream_request(request, session_id)
    state: State = request.scope["state"]
    try:
        job = None if stream_request.deleted else await _job(state, stream_request, known_job(job_id))
        if job is None:
            presence, _ = await state["subscriber"].subscribe(stream_request)
            begin = partial(EventStream, state["hub"])
            return await without_session(state, replace(stream_request, wait=False), presence, begin)
    except (RedisError, UnreadableHere):
        return stream_request.dialect.refusal(retry_ms())
    return EventStream(
        state["hub"],
        replace(stream_request, job=job),
        coding=stream_coding(request.scope["headers"], state["settings"].compress, ends=job.end is not None),
    )


async def _job(state: State, stream_request: StreamRequest, job_id: str) -> JobState | None:
    """Read a job; None if the session does not exist. Raises JobUnknown."""
    try:
        return await state["sessions"].job(stream_request.session_id, job_id)
    except SessionUnknown:
        return None
