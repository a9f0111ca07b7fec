"""Routes that list, read and delete sessions."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from holdfast.gateway.dependencies import (
    Caller,
    DeletableSession,
    GatewayState,
    PageLimit,
    ReadableSession,
    SessionCursor,
)
from holdfast.gateway.intents import delete
from holdfast.gateway.routes.schemas import (
    DeletedAnswer,
    MessagesAnswer,
    SessionAnswer,
    SessionsAnswer,
    json_response,
    messages_json,
    no_messages_json,
    problems,
    session_json,
    sessions_json,
)
from holdfast.shared.errors import SessionUnknown
from holdfast.shared.owner import public_id
from starlette.responses import Response

router = APIRouter(tags=["sessions"])

Waits = Annotated[
    bool, Query(description="For a session that does not exist yet, no messages and an empty cursor, instead of 404")
]
SearchedText = Annotated[str, Query(max_length=100, description="Part of an id or a title, in any case")]


@router.get("/v1/sessions", response_model=SessionsAnswer, responses=problems(422, 503))
async def list_sessions(
    state: GatewayState, caller: Caller, cursor: SessionCursor, limit: PageLimit = 50, q: SearchedText = ""
) -> Response:
    """List sessions, newest activity first. A page may hold fewer than `limit`, none even, and have a next one."""
    listed = state["session_list"]
    page = await (listed.search(caller, cursor, limit, q) if q else listed.page(caller, cursor, limit))
    return json_response(sessions_json(page))


@router.get("/v1/sessions/{session_id}", response_model=SessionAnswer, responses=problems(404, 410, 503))
async def get_session(state: GatewayState, session_id: ReadableSession) -> Response:
    """Read the state of a session."""
    session = await state["sessions"].session(session_id)
    return json_response(session_json(session))


@router.get("/v1/sessions/{session_id}/messages", response_model=MessagesAnswer, responses=problems(404, 410, 422, 503))
async def get_messages(state: GatewayState, session_id: ReadableSession, wait: Waits = False) -> Response:
    """Read the conversation, including the output of the running job so far. Continue from `cursor` with
    `?last_event_id=`."""
    try:
        conversation = await state["sessions"].messages(session_id)
    except SessionUnknown:
        if not wait:
            raise
        return json_response(no_messages_json(session_id))
    return json_response(messages_json(session_id, conversation))


@router.delete("/v1/sessions/{session_id}", status_code=202, response_model=DeletedAnswer, responses=problems(404, 503))
async def delete_session(state: GatewayState, session_id: DeletableSession) -> Response:
    """Cancel all jobs of a session and delete it. Its viewers receive `session.deleted`."""
    await delete(state, session_id)
    return json_response({"session_id": public_id(session_id), "status": "deleting"}, 202)
