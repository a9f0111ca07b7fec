"""OpenAI's routes below /openai/v1: responses, chat completions and models."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from fastapi import APIRouter, Request
from holdfast.gateway.dependencies import State, idempotency_key, known_session
from holdfast.gateway.dialects.job_stream import stream_job
from holdfast.gateway.dialects.openai.answers import answer_question
from holdfast.gateway.dialects.openai.completion_body import completion_job, parse_completion_body
from holdfast.gateway.dialects.openai.completion_object import completion_json
from holdfast.gateway.dialects.openai.completions import CompletionHead, CompletionTranslation
from holdfast.gateway.dialects.openai.errors import ModelUnknown, Overloaded, renamed
from holdfast.gateway.dialects.openai.job_output import read_output
from holdfast.gateway.dialects.openai.messages import answer_in
from holdfast.gateway.dialects.openai.parameters import stream_query
from holdfast.gateway.dialects.openai.response_body import ResponseBody, parse_response_body, response_job
from holdfast.gateway.dialects.openai.response_ids import JobAddress, ResponseUnknown, completion_id, parse_response_id
from holdfast.gateway.dialects.openai.response_object import head_of
from holdfast.gateway.dialects.openai.responses import ResponseTranslation
from holdfast.gateway.dialects.openai.waiting import settled
from holdfast.gateway.intents import cancel
from holdfast.gateway.limits import Body, read_json
from holdfast.gateway.principal import Right, principal_of
from holdfast.gateway.routes.schemas import json_response
from holdfast.gateway.routes.stream_route import StreamRoute
from holdfast.gateway.submission import session_id_for, submit
from holdfast.shared.errors import JobUnknown, SessionUnknown
from holdfast.shared.job_record import JobState
from starlette.types import ASGIApp

PREFIX = "/openai/"
# Below the 600 s that OpenAI's clients wait, so that they get an answer.
WAIT_SECONDS = 540.0
CANCEL_SECONDS = 5.0

router = APIRouter(
    prefix="/openai/v1",
    route_class=StreamRoute,
    generate_unique_id_function=attrgetter("name"),
    include_in_schema=False,  # OpenAI publishes the contract
)


@router.post("/responses", response_model=None)
async def create_response(request: Request) -> ASGIApp:
    """Create a response: queue a job, in the session of `previous_response_id` if there is one."""
    state: State = request.scope["state"]
    _check_room(state)
    given = await read_json(request, state["cpu_slot"])
    body = await state["cpu_slot"].run(given.size, parse_response_body, given.value)
    address = await _accepted_response(request, state, body, given.size)
    job = await state["sessions"].job(*address)
    if body.stream:
        return await stream_job(request, state, job, ResponseTranslation(head_of(job)))
    if not body.background:
        await settled(request, state["hub"], job, WAIT_SECONDS, questions=True)
    return await _response(state, address)


async def _accepted_response(request: Request, state: State, body: ResponseBody, size: int) -> JobAddress:
    """Return the job of a new response, or the waiting one that the input answers."""
    key, previous = idempotency_key(request), body.previous_response_id
    address = None if previous is None else _known(request, previous, "submit")
    if address is not None:
        await state["sessions"].job(*address)
        answer = answer_in(body.input)
        if answer is not None:
            await answer_question(state, _known(request, str(previous), "answer"), *answer)
            return address
    session_id = await session_id_for(state, key) if address is None else address.session_id
    job_body = await state["cpu_slot"].run(size, response_job, body)
    with renamed("input"):
        submitted = await submit(state, principal_of(request.scope), session_id, Body(job_body, size), key)
    return JobAddress(session_id, submitted.job_id)


@router.get("/responses/{response_id}", response_model=None)
async def retrieve_response(request: Request, response_id: str) -> ASGIApp:
    """Read a response as it is, or with `stream=true` its events after `starting_after`."""
    state: State = request.scope["state"]
    address = _known(request, response_id, "read")
    query = stream_query(request)
    if not query.stream:
        return await _response(state, address)
    job = await _job(state, address)
    return await stream_job(request, state, job, ResponseTranslation(head_of(job)), query.starting_after)


@router.post("/responses/{response_id}/cancel", response_model=None)
async def cancel_response(request: Request, response_id: str) -> ASGIApp:
    """Cancel a response, and return it once its job has ended. Has no effect on one that has ended."""
    state: State = request.scope["state"]
    address = _known(request, response_id, "stop")
    job = await _job(state, address)
    await cancel(state, *address)
    await settled(request, state["hub"], job, CANCEL_SECONDS, questions=False)
    return await _response(state, address)


@router.post("/chat/completions", response_model=None)
async def create_completion(request: Request) -> ASGIApp:
    """Create a chat completion: queue a job in a new session."""
    state: State = request.scope["state"]
    _check_room(state)
    given = await read_json(request, state["cpu_slot"])
    body = await state["cpu_slot"].run(given.size, parse_completion_body, given.value)
    key = idempotency_key(request)
    session_id = await session_id_for(state, key)
    job_body = await state["cpu_slot"].run(given.size, completion_job, body)
    with renamed("messages"):
        submitted = await submit(state, principal_of(request.scope), session_id, Body(job_body, given.size), key)
    job = await state["sessions"].job(session_id, submitted.job_id)
    head = CompletionHead(completion_id(session_id, job.job_id), job.agent, job.created_at // 1000)
    if body.stream:
        return await stream_job(request, state, job, CompletionTranslation(head, body.include_usage))
    await settled(request, state["hub"], job, WAIT_SECONDS, questions=False)
    job = await state["sessions"].job(session_id, submitted.job_id)
    output = await read_output(state["log"], job, ResponseTranslation(head_of(job)))
    return json_response(completion_json(head, output))


@router.get("/models", response_model=None)
async def list_models(request: Request) -> ASGIApp:
    """List the agents as models."""
    state: State = request.scope["state"]
    agents = await state["agent_catalog"].schemas()
    return json_response({"object": "list", "data": [_model(name) for name in agents]})


@router.get("/models/{model:path}", response_model=None)
async def retrieve_model(request: Request, model: str) -> ASGIApp:
    """Read one agent as a model."""
    state: State = request.scope["state"]
    if model not in await state["agent_catalog"].schemas():
        raise ModelUnknown
    return json_response(_model(model))


def _model(agent: str) -> dict[str, Any]:
    return {"id": agent, "object": "model", "created": 0, "owned_by": "holdfast"}


def _check_room(state: State) -> None:
    """Refuse a job whose stream would be refused, before it is accepted. Raises Overloaded."""
    if state["hub"].full:
        raise Overloaded


def _known(request: Request, response_id: str, right: Right) -> JobAddress:
    """Return the job of a response. Raises ResponseUnknown, also without the right to its session."""
    address = parse_response_id(response_id)
    try:
        known_session(address.session_id, principal_of(request.scope), right)
    except SessionUnknown:
        raise ResponseUnknown from None
    return address


async def _job(state: State, address: JobAddress) -> JobState:
    try:
        return await state["sessions"].job(*address)
    except (SessionUnknown, JobUnknown):
        raise ResponseUnknown from None


async def _response(state: State, address: JobAddress) -> ASGIApp:
    job = await _job(state, address)
    translation = ResponseTranslation(head_of(job))
    output = await read_output(state["log"], job, translation)
    return json_response(translation.head.json(output))
