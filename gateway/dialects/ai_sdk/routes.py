"""Routes of the AI SDK's chat transports: submit messages, resume a stream, and stop a job.

`DefaultChatTransport` of `ai` 6 and 7 uses `/ai-sdk/v6/{agent}` and `/ai-sdk/v7/{agent}`; `WorkflowChatTransport` of
`@ai-sdk/workflow` uses `/ai-sdk/workflow/{agent}`. Nothing else distinguishes them: no version is on the wire.
"""

from __future__ import annotations

import re
from typing import Literal

from fastapi import APIRouter, Request
from holdfast.gateway.dependencies import State, idempotency_key, known_session
from holdfast.gateway.dialects.ai_sdk.chat_body import (
    WITHOUT_EFFECT,
    job_ids_of,
    job_value,
    message_key,
    parse_chat_body,
)
from holdfast.gateway.dialects.ai_sdk.chat_ids import job_of_run, run_id, session_of
from holdfast.gateway.dialects.ai_sdk.errors import about_messages
from holdfast.gateway.dialects.ai_sdk.refusal import pause_and_end
from holdfast.gateway.dialects.ai_sdk.translation import HEADERS, UiMessageStream, framed, lost_chunks
from holdfast.gateway.dialects.following import Continuation, continued
from holdfast.gateway.dialects.ignored import naming, unknown_fields
from holdfast.gateway.dialects.job_stream import check_room, stream_job
from holdfast.gateway.errors import NO_STORE, EventsTrimmed, RouteUnknown
from holdfast.gateway.intents import cancel
from holdfast.gateway.limits import Body, read_json
from holdfast.gateway.principal import Principal, principal_of
from holdfast.gateway.routes.schemas import json_response
from holdfast.gateway.routes.stream_route import StreamRoute
from holdfast.gateway.stream.viewer import retry_ms
from holdfast.gateway.submission import session_id_for, submit
from holdfast.shared.errors import (
    JobUnknown,
    LogUnavailable,
    RequestInvalid,
    SessionUnknown,
    UnreadableHere,
)
from holdfast.shared.job_record import JobState
from holdfast.shared.owner import public_id
from holdfast.shared.redis.errors import RedisError
from holdfast.shared.sessions import SessionState
from starlette.responses import Response
from starlette.types import ASGIApp

PREFIX = "/ai-sdk/"
CLIENTS = ("v6", "v7", "workflow")
_INDEX = re.compile(r"-?[0-9]{1,9}")

router = APIRouter(include_in_schema=False, route_class=StreamRoute)


@router.post("/ai-sdk/{client}/{agent}", response_model=None)
async def post_messages(request: Request, client: str, agent: str) -> ASGIApp:
    """Submit the new messages of a chat as a job, and stream it."""
    state, caller = _called(request, client)
    key = idempotency_key(request)
    body = await read_json(request, state["cpu_slot"], any_type=True)
    chat = await state["cpu_slot"].run(body.size, parse_chat_body, body.value)
    continuation = Continuation()
    if chat.id is None:
        caller.check("read")
        session_id = await session_id_for(state, caller, key)
    else:
        session_id = known_session(session_of(chat.id), caller, "read")
        continuation = await continued(state, session_id, job_ids_of(chat))
        key = key or await state["cpu_slot"].run(body.size, message_key, chat, agent, continuation.after)
    check_room(request, session_id)
    value = await state["cpu_slot"].run(body.size, job_value, chat, agent, continuation)
    try:
        submitted = await submit(state, caller, session_id, Body(value, body.size), key)
    except RequestInvalid as error:
        raise about_messages(error) from None
    try:
        job = await state["sessions"].job(session_id, submitted.job_id)
        ignored = (name for name in unknown_fields(chat, body.value) if name not in WITHOUT_EFFECT)
        return naming(ignored, await _stream(request, state, client, job))
    except (LogUnavailable, RedisError, UnreadableHere):
        if client != "workflow":
            raise
        run = {"x-workflow-run-id": run_id(session_id, submitted.job_id)}
        return pause_and_end({**HEADERS, **run}, retry_ms())


@router.get("/ai-sdk/{client}/{agent}/{chat_id:path}/stream", response_model=None)
async def resume_stream(request: Request, client: str, agent: str, chat_id: str) -> ASGIApp:
    """Stream the newest job of a chat that has not ended, else its last one, from its beginning or from a chunk.

    It may be of any agent."""
    state, caller = _called(request, client)
    index = _start_index(request, client)
    job = None
    try:
        job = await _job(state, caller, chat_id)
        return await _stream(request, state, client, job, index)
    except (SessionUnknown, JobUnknown, EventsTrimmed):
        begun = index > 0 or job_of_run(chat_id) is not None  # the client has a part of the answer
        runs = job is not None and job.end is None
        return _lost(client) if begun or runs else _nothing(client)
    except (LogUnavailable, RedisError, UnreadableHere):
        if client != "workflow":  # that client gives up on any status but 200
            raise
        return pause_and_end(HEADERS, retry_ms())


@router.post("/ai-sdk/{client}/{agent}/{chat_id:path}/stop", response_model=None)
async def stop(request: Request, client: str, agent: str, chat_id: str) -> ASGIApp:
    """Cancel the newest job of a chat that has not ended, or the one with the id `activeStreamId`."""
    state, caller = _called(request, client)
    given = await _active_stream_id(request, state)
    session_id, job_id = job_of_run(chat_id) or (session_of(chat_id), None)
    try:
        session = await state["sessions"].session(known_session(session_id, caller, "stop"))
    except SessionUnknown:
        return json_response({"stopped": False})
    wanted = given if given is not None else job_id or _newest(session)
    job_ids = [job for job in session.backlog if wanted in (job, run_id(session.session_id, job))]
    for job in job_ids:
        await cancel(state, session.session_id, job)
    return json_response({"stopped": bool(job_ids)})


def _called(request: Request, client: str) -> tuple[State, Principal]:
    """Return the gateway's state and the caller. Raises RouteUnknown if the path names no client."""
    if client not in CLIENTS:
        raise RouteUnknown
    return request.scope["state"], principal_of(request.scope)


async def _active_stream_id(request: Request, state: State) -> str | None:
    """Return the stream that the client wants to stop, if it names one. A body is optional."""
    if request.headers.get("content-length", "0") == "0" and "transfer-encoding" not in request.headers:
        return None
    body = await read_json(request, state["cpu_slot"], any_type=True)
    if not isinstance(body.value, dict):
        raise RequestInvalid("body", "should be an object")
    given = body.value.get("activeStreamId")
    if not isinstance(given, str | None):
        raise RequestInvalid("activeStreamId", "should be a string: the id of an assistant message, or a run id")
    return given


async def _job(state: State, caller: Principal, chat_id: str) -> JobState:
    """Return the job of a run, or of a chat the newest one that has not ended, else the last one.

    Raises SessionUnknown, JobUnknown."""
    run = job_of_run(chat_id)
    if run is not None:
        return await state["sessions"].job(known_session(run[0], caller, "read"), run[1])
    session = await state["sessions"].session(known_session(session_of(chat_id), caller, "read"))
    newest = _newest(session)
    if newest in (None, session.current.job_id):
        return session.current
    return await state["sessions"].job(session.session_id, newest)


def _newest(session: SessionState) -> str | None:
    """Return the newest job that has not ended: the answer to the last message of the user."""
    return next((job for job in reversed(session.jobs) if job in session.backlog), None)


def _start_index(request: Request, client: str) -> int:
    """Return the number of the chunk from which to stream. A negative one counts from the end.

    Raises RequestInvalid."""
    given = request.query_params.getlist("startIndex")
    if not given:
        return 0
    if client != "workflow":
        raise RequestInvalid("startIndex", f"is allowed below {PREFIX}workflow/ only")
    if len(given) > 1 or _INDEX.fullmatch(given[0]) is None:
        raise RequestInvalid("startIndex", "must be one integer: the number of a chunk, or from the end a negative one")
    return int(given[0])


def _nothing(client: str) -> Response:
    """Return that there is nothing to resume. To WorkflowChatTransport a 204 is an error."""
    if client == "workflow":
        return Response(framed({"type": "finish"}), headers=HEADERS)
    return Response(status_code=204, headers=NO_STORE)


def _lost(client: str) -> Response:
    """Return that a part of an answer is no longer available. Raises EventsTrimmed, where the client shows errors."""
    if client != "workflow":
        raise EventsTrimmed
    return Response(b"".join(map(framed, lost_chunks())), headers=HEADERS)


async def _stream(request: Request, state: State, client: str, job: JobState, index: int = 0) -> ASGIApp:
    """Stream a job from the chunk `index` on; with a negative one, which counts from the end, from the beginning.

    The number of the newest chunk is not known without a translation of the whole log. So the client, which computes
    that of its first chunk as `tail + 1 + index`, receives a tail that makes it 0. Raises EventsTrimmed, RedisError."""
    discards = tuple(await state["log"].discards(job.session_id, job.job_id))
    version: Literal[6, 7] = 6 if client == "v6" else 7
    tail = -1 - index if index < 0 else None
    stream = UiMessageStream(public_id(job.session_id), job.job_id, version, client == "workflow", discards, tail)
    return await stream_job(request, state, job, stream, index if index > 0 else None)
