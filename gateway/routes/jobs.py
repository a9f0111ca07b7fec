"""Routes that submit, read, cancel and answer jobs."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from holdfast.gateway.dependencies import (
    AnswerableSession,
    Caller,
    ChosenSession,
    GatewayState,
    IdempotencyKey,
    JobCursor,
    JsonBody,
    KnownJob,
    PageLimit,
    ReadableSession,
    State,
    StoppableSession,
    SubmittableSession,
)
from holdfast.gateway.intents import answer_with, cancel
from holdfast.gateway.limits import Body
from holdfast.gateway.principal import Principal
from holdfast.gateway.routes.schemas import (
    AcceptedAnswer,
    AnsweredAnswer,
    CancelAnswer,
    JobAnswer,
    JobsAnswer,
    job_json,
    json_response,
    problems,
)
from holdfast.gateway.submission import session_id_for, submit, submit_again
from holdfast.shared.owner import public_id
from holdfast.shared.sessions import Submitted
from starlette.responses import Response

router = APIRouter(tags=["jobs"])


def _body(model: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{model}"}}}
    return {"requestBody": {"required": True, "content": content}}


_ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {
        "model": AcceptedAnswer,
        "description": "Accepted durably, or accepted before with the same Idempotency-Key",
        "headers": {
            "Location": {"description": "URL of the job's events", "schema": {"type": "string"}},
            "Idempotency-Replayed": {"description": "true if the job was accepted before", "schema": {"const": "true"}},
        },
    },
    **problems(404, 409, 413, 415, 422, 429, 503),
}


@router.post("/v1/jobs", status_code=202, responses=_ACCEPTED, openapi_extra=_body("JobBody"))
async def post_job(state: GatewayState, caller: Caller, key: IdempotencyKey, body: JsonBody) -> Response:
    """Queue a job in a new session with an unguessable id."""
    return await _accept(state, caller, await session_id_for(state, caller, key), body, key)


@router.post("/v1/sessions/{session_id}/jobs", status_code=202, responses=_ACCEPTED, openapi_extra=_body("JobBody"))
async def post_session_job(
    state: GatewayState, caller: Caller, session_id: ChosenSession, key: IdempotencyKey, body: JsonBody
) -> Response:
    """Queue a job in a session. A new session is created."""
    return await _accept(state, caller, session_id, body, key)


async def _accept(state: State, caller: Principal, session_id: str, body: Body, key: str | None) -> Response:
    return _accepted(session_id, await submit(state, caller, session_id, body, key))


def _accepted(session_id: str, submitted: Submitted) -> Response:
    content = accepted_json(session_id, submitted)
    headers = {"Location": content["events_url"]}
    if submitted.replayed:
        headers["Idempotency-Replayed"] = "true"
    return json_response(content, 202, headers)


def accepted_json(session_id: str, submitted: Submitted) -> dict[str, Any]:
    public = public_id(session_id)
    session_url = f"/v1/sessions/{public}"
    return {
        "job_id": submitted.job_id,
        "session_id": public,
        "status": submitted.status,
        "position": submitted.position,
        "cursor": str(submitted.cursor),
        "events_url": f"{session_url}/jobs/{submitted.job_id}/events",
        "session_events_url": f"{session_url}/events",
    }


@router.get("/v1/sessions/{session_id}/jobs", response_model=JobsAnswer, responses=problems(404, 410, 422, 503))
async def list_jobs(
    state: GatewayState, session_id: ReadableSession, cursor: JobCursor, limit: PageLimit = 50
) -> Response:
    """List the jobs of a session, newest first. A page of large records holds fewer than `limit`."""
    page = await state["sessions"].jobs(session_id, cursor, limit)
    return json_response({"jobs": [job_json(job) for job in page.jobs], "next": page.more})


@router.get("/v1/sessions/{session_id}/jobs/{job_id}", response_model=JobAnswer, responses=problems(404, 410, 503))
async def get_job(state: GatewayState, session_id: ReadableSession, job_id: KnownJob) -> Response:
    """Read the state and the result of a job."""
    return json_response(job_json(await state["sessions"].job(session_id, job_id)))


@router.post(
    "/v1/sessions/{session_id}/jobs/{job_id}/cancel",
    status_code=202,
    response_model=CancelAnswer,
    responses=problems(404, 503),
)
async def cancel_job(state: GatewayState, session_id: StoppableSession, job_id: KnownJob) -> Response:
    """Cancel a job. Has no effect on a job that is being cancelled or has ended."""
    status = await cancel(state, session_id, job_id)
    return json_response({"session_id": public_id(session_id), "job_id": job_id, "status": status}, 202)


@router.post("/v1/sessions/{session_id}/jobs/{job_id}/retry", status_code=202, responses=_ACCEPTED)
async def retry_job(
    state: GatewayState, caller: Caller, session_id: SubmittableSession, job_id: KnownJob, key: IdempotencyKey
) -> Response:
    """Queue a new job in the session with the agent, the input and the options of this one. It follows the same job,
    so it replaces this one in the conversation."""
    return _accepted(session_id, await submit_again(state, caller, session_id, job_id, key))


@router.post(
    "/v1/sessions/{session_id}/jobs/{job_id}/answer",
    status_code=202,
    response_model=AnsweredAnswer,
    responses=problems(404, 409, 410, 413, 415, 422, 503),
    openapi_extra=_body("AnswerBody"),
)
async def answer_job(state: GatewayState, session_id: AnswerableSession, job_id: KnownJob, body: JsonBody) -> Response:
    """Answer the pending question of a job. The first answer counts; a later one gets 409."""
    await answer_with(state, session_id, job_id, body)
    return json_response({"session_id": public_id(session_id), "job_id": job_id}, 202)
