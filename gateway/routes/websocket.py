"""The route of event streams over a WebSocket, on which a client can also send jobs, cancellations and answers."""

from __future__ import annotations

from functools import partial
from operator import attrgetter
from typing import Any

from fastapi import APIRouter, Request
from holdfast.gateway.dependencies import SessionPath, State
from holdfast.gateway.dialects.websocket import WEBSOCKET
from holdfast.gateway.principal import principal_of
from holdfast.gateway.routes.client_messages import ClientMessages
from holdfast.gateway.routes.schemas import problems
from holdfast.gateway.routes.session_stream import open_session
from holdfast.gateway.routes.stream_route import PARAMETERS, StreamRoute, read_stream_request
from holdfast.gateway.stream.websocket_stream import WebSocketStream, close_at_once, shake_hands
from holdfast.gateway.transports.websocket import MAX_MESSAGE_BYTES
from starlette.responses import Response
from starlette.types import ASGIApp

router = APIRouter(tags=["events"], route_class=StreamRoute, generate_unique_id_function=attrgetter("name"))

_RESPONSES: dict[int | str, dict[str, Any]] = {
    101: {"description": "The events as messages, and messages of the client the other way"},
    **problems(400, 404, 410, 422, 426, 503),
}


@router.get(
    "/v1/sessions/{session_id}/ws",
    responses=_RESPONSES,
    openapi_extra={"parameters": PARAMETERS},
    response_class=Response,
    response_model=None,
)
async def session_websocket(request: Request, session_id: SessionPath) -> ASGIApp:
    """Stream the events of a session over a WebSocket, and accept jobs, cancellations and answers."""
    state: State = request.scope["state"]
    stream_request = read_stream_request(request, session_id, WEBSOCKET)
    messages = ClientMessages(state, principal_of(request.scope), stream_request.session_id, stream_request.address)
    max_bytes = min(state["settings"].max_body_bytes, MAX_MESSAGE_BYTES)
    handshake = shake_hands(request.scope, messages.answer, max_bytes)
    begin = partial(WebSocketStream, state["hub"], handshake)
    return await open_session(state, stream_request, begin, partial(close_at_once, handshake))
