"""Routes of AG-UI's `HttpAgent` and of TanStack AI: run an agent, join its run, and stop it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from holdfast.gateway.dependencies import State, known_session
from holdfast.gateway.dialects.ag_ui.hydration import hydration
from holdfast.gateway.dialects.ag_ui.ids import pair_of, session_of
from holdfast.gateway.dialects.ag_ui.runs import join_run, recent_messages, start_run, stop_run
from holdfast.gateway.limits import read_json
from holdfast.gateway.principal import principal_of
from holdfast.gateway.routes.schemas import json_response
from holdfast.gateway.routes.stream_route import StreamRoute
from holdfast.shared.errors import JobUnknown, RequestInvalid, SessionUnknown
from holdfast.shared.sessions import RecentMessages
from starlette.types import ASGIApp

PREFIX = "/ag-ui/"

router = APIRouter(include_in_schema=False, route_class=StreamRoute)


@router.post("/ag-ui/{agent}", response_model=None)
async def post_run(request: Request, agent: str) -> ASGIApp:
    """Start a run, or continue one, and stream it."""
    state: State = request.scope["state"]
    return await start_run(request, agent, await read_json(request, state["cpu_slot"], any_type=True))


@router.get("/ag-ui/{agent}", response_model=None)
async def get_run(request: Request, agent: str) -> ASGIApp:
    """Join the run `runId`, or return the messages of the thread `threadId`, as TanStack AI requests them."""
    query = request.query_params
    thread_id, run_id = query.get("threadId"), query.get("runId")
    if run_id is not None:
        return await _joined(request, thread_id, run_id)
    if thread_id is None:
        raise RequestInvalid("runId", "is required, or threadId for the messages of a thread")
    state: State = request.scope["state"]
    try:
        session_id = known_session(session_of(thread_id), principal_of(request.scope), "read")
        session = await state["sessions"].session(session_id)
    except SessionUnknown:
        return json_response(hydration(RecentMessages([], [], None), None))
    running = session.current if session.current.job_id in session.backlog else None
    recent = await recent_messages(state, session_id, session.current.job_id)
    return json_response(await state["cpu_slot"].run(recent.size, hydration, recent, running))


@router.get("/ag-ui/{agent}/{thread_id:path}/events", response_model=None)
async def get_events(request: Request, agent: str, thread_id: str) -> ASGIApp:
    """Stream the run of a thread that runs or is next, else its last one. It may be of any agent."""
    return await join_run(request, session_of(thread_id), thread_id, None)


@router.post("/ag-ui/{agent}/{thread_id:path}/stop", response_model=None)
async def post_stop(request: Request, agent: str, thread_id: str) -> ASGIApp:
    """Cancel the run of a thread, or the one that `runId` names."""
    return json_response({"stopped": await stop_run(request, thread_id, await stopped_run(request))})


async def stopped_run(request: Request) -> str | None:
    """Return the run that the body of a stop names, if any. Raises RequestInvalid."""
    if request.headers.get("content-length", "0") == "0" and "transfer-encoding" not in request.headers:
        return None
    body = await read_json(request, request.scope["state"]["cpu_slot"], any_type=True)
    return run_in(body.value)


def run_in(value: Any) -> str | None:
    """Return the `runId` of an object, if it has one. Raises RequestInvalid."""
    if not isinstance(value, dict):
        raise RequestInvalid("body", "should be an object")
    given = value.get("runId")
    if not isinstance(given, str | None):
        raise RequestInvalid("runId", "should be a string")
    return given


async def _joined(request: Request, thread_id: str | None, run_id: str) -> ASGIApp:
    if thread_id is not None:
        return await join_run(request, session_of(thread_id), thread_id, run_id)
    pair = pair_of(run_id)
    if pair is None:  # a client's own id is known within its thread only
        raise JobUnknown
    return await join_run(request, pair[0], pair[0], run_id)
