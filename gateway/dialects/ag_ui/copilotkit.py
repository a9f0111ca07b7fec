"""Routes of CopilotKit's runtime, version 2: the list of agents, and their runs as streams of AG-UI.

Below one URL with paths ("rest"), and as methods of one URL ("single"), as `@copilotkit/core` requests them.
"""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request
from holdfast.gateway.dependencies import State
from holdfast.gateway.dialects.ag_ui.ids import session_of
from holdfast.gateway.dialects.ag_ui.refusal import HEADERS
from holdfast.gateway.dialects.ag_ui.routes import run_in, stopped_run
from holdfast.gateway.dialects.ag_ui.run_input import parse_run_input
from holdfast.gateway.dialects.ag_ui.runs import join_run, start_run, stop_run
from holdfast.gateway.errors import EventsTrimmed, body_invalid
from holdfast.gateway.limits import Body, read_json
from holdfast.gateway.principal import principal_of
from holdfast.gateway.routes.schemas import json_response
from holdfast.gateway.routes.stream_route import StreamRoute
from holdfast.shared.errors import RequestInvalid, SessionUnknown
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.responses import Response
from starlette.types import ASGIApp

PREFIX = "/copilotkit"
VERSION = "1.75.0"  # of the runtime whose routes these are

router = APIRouter(include_in_schema=False, route_class=StreamRoute)


class Params(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    agentId: str = ""  # noqa: N815 - the protocol's word
    threadId: str = ""  # noqa: N815 - the protocol's word


class Envelope(BaseModel):
    """A call of the single URL."""

    model_config = ConfigDict(strict=True, extra="ignore")

    method: Literal["info", "agent/run", "agent/connect", "agent/stop"]
    params: Params = Params()
    body: Any = None


@router.get("/copilotkit/info", response_model=None)
async def get_info(request: Request) -> ASGIApp:
    """Describe the runtime and the agents that workers offer."""
    return await _info(request)


@router.post("/copilotkit/agent/{agent}/run", response_model=None)
async def post_run(request: Request, agent: str) -> ASGIApp:
    """Start a run, or continue one, and stream it."""
    return await start_run(request, agent, await _body(request))


@router.post("/copilotkit/agent/{agent}/connect", response_model=None)
async def post_connect(request: Request, agent: str) -> ASGIApp:
    """Stream the messages of a thread and its run, the last one if none is open."""
    return await _connected(request, await _body(request))


@router.post("/copilotkit/agent/{agent}/stop/{thread_id:path}", response_model=None)
async def post_stop(request: Request, agent: str, thread_id: str) -> ASGIApp:
    """Cancel the run of a thread, or the one that `runId` names."""
    return await _stopped(request, thread_id, await stopped_run(request))


@router.post("/copilotkit", response_model=None)
@router.post("/copilotkit/", response_model=None)
async def post_method(request: Request) -> ASGIApp:
    """Call one of the routes above by the name of its method."""
    body = await _body(request)
    try:
        envelope = Envelope.model_validate(body.value)
    except ValidationError as error:
        raise body_invalid(
            error.errors(include_url=False, include_context=False, include_input=False), "body"
        ) from None
    inner = Body(envelope.body, body.size)
    match envelope.method:
        case "info":
            return await _info(request)
        case "agent/run":
            return await start_run(request, envelope.params.agentId, inner)
        case "agent/connect":
            return await _connected(request, inner)
        case "agent/stop":
            run_id = None if envelope.body is None else run_in(envelope.body)
            return await _stopped(request, envelope.params.threadId, run_id)


async def _body(request: Request) -> Body:
    state: State = request.scope["state"]
    return await read_json(request, state["cpu_slot"], any_type=True)


async def _info(request: Request) -> Response:
    state: State = request.scope["state"]
    names = await state["agent_catalog"].schemas(principal_of(request.scope))
    capabilities = {"transport": {"streaming": True, "resumable": True}}
    agents = {
        name: {"name": name, "description": "", "className": "HoldfastAgent", "capabilities": capabilities}
        for name in names
    }
    endpoints = {"list": False, "inspect": False, "mutations": False, "realtimeMetadata": False}
    about = {"version": VERSION, "agents": agents, "mode": "sse", "audioFileTranscriptionEnabled": False}
    return json_response({**about, "threadEndpoints": endpoints, "suggestions": False, "a2uiEnabled": False})


async def _connected(request: Request, body: Body) -> ASGIApp:
    """Stream nothing for a thread that does not exist, or whose events are gone."""
    state: State = request.scope["state"]
    given = await state["cpu_slot"].run(body.size, parse_run_input, body.value)
    try:
        return await join_run(request, session_of(given.threadId), given.threadId, None, given.messages)
    except (SessionUnknown, EventsTrimmed):
        return Response(b": no run\n\n", headers=dict(HEADERS))


async def _stopped(request: Request, thread_id: str, run_id: str | None) -> Response:
    if not thread_id:
        raise RequestInvalid("threadId", "is required")
    if not await stop_run(request, thread_id, run_id):
        return json_response({"stopped": False})
    interrupt = {"type": "RUN_ERROR", "message": "Cancelled by user", "code": "STOPPED"}
    return json_response({"stopped": True, "interrupt": interrupt})
