"""OpenAI's routes below /openai/v1: responses, chat completions and models."""

from __future__ import annotations

from operator import attrgetter
from typing import Any, NamedTuple

from fastapi import APIRouter, Request
from holdfast.gateway.dependencies import State, address_of, idempotency_key
from holdfast.gateway.dialects.ignored import naming, unknown_fields
from holdfast.gateway.dialects.job_stream import stream_job
from holdfast.gateway.dialects.openai.answers import answer_question
from holdfast.gateway.dialects.openai.completion_body import completion_job, parse_completion_body
from holdfast.gateway.dialects.openai.completion_object import completion_json
from holdfast.gateway.dialects.openai.completions import CompletionHead, CompletionTranslation
from holdfast.gateway.dialects.openai.errors import (
    ModelUnknown,
    Overloaded,
    ResponseNotAlone,
    Unfinished,
    after_acceptance,
    renamed,
)
from holdfast.gateway.dialects.openai.input_items import ListQuery, input_list
from holdfast.gateway.dialects.openai.job_output import outputs_of
from holdfast.gateway.dialects.openai.known_jobs import job_of, known_to, unknown_jobs
from holdfast.gateway.dialects.openai.messages import answer_in, answer_text, tool_answer_in
from holdfast.gateway.dialects.openai.parameters import StreamQuery, parse_query
from holdfast.gateway.dialects.openai.references import resolved
from holdfast.gateway.dialects.openai.response_body import parse_response_body, response_job
from holdfast.gateway.dialects.openai.response_ids import (
    RESPONSE,
    JobAddress,
    completion_id,
    parse_call_id,
    parse_response_id,
    response_id,
)
from holdfast.gateway.dialects.openai.response_object import head_of
from holdfast.gateway.dialects.openai.responses import ResponseTranslation, question_of
from holdfast.gateway.dialects.openai.waiting import settled
from holdfast.gateway.intents import cancel, delete
from holdfast.gateway.limits import Body, read_json
from holdfast.gateway.principal import Right, principal_of
from holdfast.gateway.routes.schemas import json_response
from holdfast.gateway.routes.stream_route import StreamRoute
from holdfast.gateway.submission import session_id_for, submit
from holdfast.shared.errors import LogUnavailable, RequestInvalid, SessionHasOtherJobs
from holdfast.shared.job_record import JobState
from holdfast.shared.owner import complete_id
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


class _Wanted(NamedTuple):
    """How the answer to a request is sent. `ignored`: its parameters that have no effect."""

    ignored: tuple[str, ...]
    stream: bool
    background: bool = False
    include_usage: bool = False


class _Accepted(NamedTuple):
    """What is left of a request once its job is accepted: not the body, which could wait in memory for minutes.

    Args:
        repeatable: a repeated request finds the same job.
        answered: the question of the job that the request answers, in a chat completion.
    """

    address: JobAddress
    repeatable: bool
    wanted: _Wanted
    answered: str | None = None


@router.post("/responses", response_model=None)
async def create_response(request: Request) -> ASGIApp:
    """Create a response: queue a job, in the session of `previous_response_id` if there is one."""
    state: State = request.scope["state"]
    _check_room(request)
    accepted = await _accept_response(request, state)
    name = response_id(*accepted.address)
    with after_acceptance(name, repeatable=accepted.repeatable):
        job = await job_of(state, accepted.address)
        if accepted.wanted.stream:
            stream = await stream_job(request, state, job, ResponseTranslation(head_of(job)))
            return naming(accepted.wanted.ignored, stream)
        if not accepted.wanted.background:
            job = await settled(request, state, job, WAIT_SECONDS, questions=True)
            if job.end is None and job.question is None:
                raise Unfinished(name, repeatable=accepted.repeatable)
        return naming(accepted.wanted.ignored, await _response(state, job))


async def _accept_response(request: Request, state: State) -> _Accepted:
    """Submit the job of a new response, or answer the question of a waiting one."""
    given = await read_json(request, state["cpu_slot"])
    body = await state["cpu_slot"].run(given.size, parse_response_body, given.value)
    wanted = _Wanted(unknown_fields(body, given.value), bool(body.stream), bool(body.background))
    previous, previous_job = body.previous_response_id, None
    if previous is None:
        session_id = await _new_session(request, state)
    else:
        session_id, previous_job = _known(request, previous, "read")
        if await _answered(request, state, previous, body.input):
            return _Accepted(_known(request, previous, "read"), True, wanted)
    input_ = await resolved(state, principal_of(request.scope), Body(body.input, given.size))
    job_body = await state["cpu_slot"].run(input_.size, response_job, body, input_.value, previous_job)
    address = await _submitted(request, state, session_id, Body(job_body, input_.size), "input")
    return _Accepted(address, idempotency_key(request) is not None, wanted)


async def _answered(request: Request, state: State, previous: str, given: Any) -> bool:
    """Answer the question of a response if the input does so. Raises RequestInvalid if it should."""
    job = await job_of(state, _known(request, previous, "read"))
    answer = answer_in(given)
    if answer is None and job.question is not None:
        call_id = job.question["question_id"]
        allowed = f"must be one function_call_output for {call_id} with a string as output"
        raise RequestInvalid("input", f"{allowed}: the response waits for this answer")
    if answer is None:
        return False
    call_id, output = answer
    address = _known(request, previous, "answer")
    await answer_question(state, address, question_of(call_id), output, "input.0.output")
    return True


@router.get("/responses/{response_id}", response_model=None)
async def retrieve_response(request: Request, response_id: str) -> ASGIApp:
    """Read a response as it is, or with `stream=true` its events after `starting_after`."""
    state: State = request.scope["state"]
    address = _known(request, response_id, "read")
    query = parse_query(StreamQuery, request)
    if not query.stream:
        return await _response(state, await job_of(state, address))
    job = await job_of(state, address)
    return await stream_job(request, state, job, ResponseTranslation(head_of(job)), query.starting_after)


@router.post("/responses/{response_id}/cancel", response_model=None)
async def cancel_response(request: Request, response_id: str) -> ASGIApp:
    """Cancel a response, and return it once its job has ended. Has no effect on one that has ended."""
    state: State = request.scope["state"]
    address = _known(request, response_id, "read", "stop")
    job = await job_of(state, address)
    await cancel(state, *address)
    return await _response(state, await settled(request, state, job, CANCEL_SECONDS, questions=False))


@router.get("/responses/{response_id}/input_items", response_model=None)
async def list_input_items(request: Request, response_id: str) -> ASGIApp:
    """List the items of a response's input, the newest first unless `order=asc`."""
    state: State = request.scope["state"]
    address = _known(request, response_id, "read")
    query = parse_query(ListQuery, request)
    with unknown_jobs():
        given = (await state["job_requests"].of(*address)).input
    job = response_id.removeprefix(RESPONSE)
    return await state["cpu_slot"].run(len(given), lambda: json_response(input_list(job, given, query)))


@router.delete("/responses/{response_id}", response_model=None)
async def delete_response(request: Request, response_id: str) -> ASGIApp:
    """Delete a response and its session, if that has no other one."""
    address = _known(request, response_id, "read", "delete")
    try:
        with unknown_jobs():
            await delete(request.scope["state"], *address)
    except SessionHasOtherJobs:
        raise ResponseNotAlone(address.session_id) from None
    return json_response({"id": response_id, "object": "response", "deleted": True})


@router.post("/chat/completions", response_model=None)
async def create_completion(request: Request) -> ASGIApp:
    """Create a chat completion: queue a job in a new session, or answer the question of another completion."""
    state: State = request.scope["state"]
    _check_room(request)
    accepted = await _accept_completion(request, state)
    name = completion_id(*accepted.address)
    with after_acceptance(name, repeatable=accepted.repeatable):
        job = await job_of(state, accepted.address)
        head = CompletionHead(name, job.agent, job.created_at // 1000)
        answered, wanted = accepted.answered, accepted.wanted
        if wanted.stream:
            translation = CompletionTranslation(head, wanted.include_usage, answered)
            return naming(wanted.ignored, await stream_job(request, state, job, translation))
        job = await settled(request, state, job, WAIT_SECONDS, questions=True)
        if job.end is None and job.question is None:
            raise Unfinished(name, repeatable=accepted.repeatable)
        output = await outputs_of(state["log"]).read(state["log"], job, ResponseTranslation(head_of(job)))
        completion = await state["cpu_slot"].run(
            output.size, lambda: json_response(completion_json(head, output, answered))
        )
        return naming(wanted.ignored, completion)


async def _accept_completion(request: Request, state: State) -> _Accepted:
    """Submit the job of a new completion, or answer the question with which another one has ended."""
    given = await read_json(request, state["cpu_slot"])
    body = await state["cpu_slot"].run(given.size, parse_completion_body, given.value)
    ignored = unknown_fields(body, given.value)
    wanted = _Wanted(ignored, bool(body.stream), include_usage=body.include_usage)
    call_id, content = tool_answer_in(body.messages) or ("", "")
    call = parse_call_id(call_id)
    if call is not None:
        address, question_id = known_to(principal_of(request.scope), call[0], "read", "answer"), call[1]
        field = f"messages.{len(body.messages) - 1}"
        await answer_question(state, address, question_id, answer_text(content, field), f"{field}.content")
        return _Accepted(address, True, wanted, question_id)
    session_id = await _new_session(request, state)
    job_body = await state["cpu_slot"].run(given.size, completion_job, body)
    address = await _submitted(request, state, session_id, Body(job_body, given.size), "messages")
    return _Accepted(address, idempotency_key(request) is not None, wanted)


@router.get("/models", response_model=None)
async def list_models(request: Request) -> ASGIApp:
    """List the agents as models."""
    state: State = request.scope["state"]
    agents = await state["agent_catalog"].schemas(principal_of(request.scope))
    return json_response({"object": "list", "data": [_model(name) for name in agents]})


@router.get("/models/{model:path}", response_model=None)
async def retrieve_model(request: Request, model: str) -> ASGIApp:
    """Read one agent as a model."""
    state: State = request.scope["state"]
    if model not in await state["agent_catalog"].schemas(principal_of(request.scope)):
        raise ModelUnknown
    return json_response(_model(model))


def _model(agent: str) -> dict[str, Any]:
    return {"id": agent, "object": "model", "created": 0, "owned_by": "holdfast"}


def _check_room(request: Request) -> None:
    """Refuse a job whose stream would be refused, before it is accepted. Raises Overloaded."""
    state: State = request.scope["state"]
    session_id = complete_id(principal_of(request.scope).owner, "")  # of this owner: the session is not known yet
    if not state["hub"].admits(session_id, address_of(request.scope)):
        raise Overloaded


async def _new_session(request: Request, state: State) -> str:
    """Return the id of a new session, or that of the caller's request with the same idempotency key.

    Raises Forbidden if the caller could not read the response, SessionUnknown, RedisError."""
    key, caller = idempotency_key(request), principal_of(request.scope)
    caller.check("read")
    return await session_id_for(state, caller, key)


async def _submitted(request: Request, state: State, session_id: str, body: Body, field: str) -> JobAddress:
    """Submit a job. `field`: of the request, for errors of the job's input."""
    key = idempotency_key(request)
    try:
        with renamed(field):
            submitted = await submit(state, principal_of(request.scope), session_id, body, key)
    except LogUnavailable:
        if key is None:
            raise
        raise LogUnavailable from None  # without a job: a repeated request finds it
    return JobAddress(session_id, submitted.job_id)


def _known(request: Request, response_id: str, *rights: Right) -> JobAddress:
    """Return the job of a response. Raises ResponseUnknown, Forbidden."""
    return known_to(principal_of(request.scope), parse_response_id(response_id), *rights)


async def _response(state: State, job: JobState) -> ASGIApp:
    head = head_of(job)
    output = await outputs_of(state["log"]).read(state["log"], job, ResponseTranslation(head))
    return await state["cpu_slot"].run(output.size, lambda: json_response(head.json(output)))
