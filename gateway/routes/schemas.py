"""The JSON of responses: pydantic models that OpenAPI describes, and functions that build it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import orjson
from holdfast.gateway.errors import MEDIA_TYPE, NO_STORE
from holdfast.gateway.session_list import SessionsPage
from holdfast.shared.ids import as_cursor
from holdfast.shared.job_record import JobState
from holdfast.shared.owner import public_id
from holdfast.shared.sessions import Conversation, SessionState, SessionSummary
from orjson import Fragment
from pydantic import BaseModel, Field, JsonValue
from starlette.responses import Response

Status = Literal["queued", "running", "waiting", "completed", "failed", "cancelled"]
Cursor = Annotated[str, Field(description="An event id, or 0-0", examples=["1763683200123-2"])]
Milliseconds = Annotated[int, Field(description="ms since 1970", examples=[1763683200123])]


class AcceptedAnswer(BaseModel):
    job_id: str
    session_id: str
    status: Status
    position: Annotated[int, Field(description="Jobs of the session that run before this one")]
    cursor: Cursor
    events_url: str
    session_events_url: str


class QuestionAnswer(BaseModel):
    question_id: str
    prompt: JsonValue
    schema_: Annotated[JsonValue, Field(alias="schema", description="JSON schema of the answer's `value`")]


_Question = Annotated[QuestionAnswer | None, Field(description="The pending question of the job")]
_CurrentStatus = Annotated[Status, Field(description="Of the running or next job, else of the last one")]
_SessionCreated = Annotated[Milliseconds, Field(description="Of the session")]


class _Headline(BaseModel):
    session_id: str
    job_id: str
    agent: str
    status: Status
    created_at: Milliseconds
    started_at: Milliseconds | None
    ended_at: Milliseconds | None
    cursor: Cursor


class _State(_Headline):
    attempt: int
    worker: str | None
    usage: JsonValue
    result: JsonValue
    error: JsonValue
    question: _Question


class BudgetAnswer(BaseModel):
    limits: Annotated[dict[str, float], Field(examples=[{"tokens": 100_000, "seconds": 600}])]
    used: Annotated[dict[str, float], Field(description="Over all attempts", examples=[{"tokens": 512, "seconds": 9}])]


class JobAnswer(_State):
    position: int | None
    metadata: JsonValue
    after: Annotated[
        str | None,
        Field(description="The job that it follows, until it starts that before it in the line; null for none"),
    ]
    budget: Annotated[BudgetAnswer | None, Field(description="Null where nothing limits the job")]
    trace_id: Annotated[str | None, Field(description="Its trace; null where neither client nor gateway traces")]


class JobsAnswer(BaseModel):
    jobs: Annotated[list[JobAnswer], Field(description="Newest first")]
    next: Annotated[str | None, Field(description="The `cursor` of the next page; null on the last one")]


class SessionAnswer(_State):
    status: _CurrentStatus
    created_at: _SessionCreated
    jobs: Annotated[list[str], Field(description="Job ids, oldest first")]
    line: Annotated[list[str], Field(description="Ids of the jobs that have not ended, in their order")]


class SessionSummaryAnswer(_Headline):
    title: Annotated[str, Field(description="The beginning of the first input")]
    status: _CurrentStatus
    created_at: _SessionCreated
    updated_at: Annotated[Milliseconds, Field(description="When a job was last posted or ended")]


class SessionsAnswer(BaseModel):
    sessions: Annotated[list[SessionSummaryAnswer], Field(description="Newest activity first")]
    next: Annotated[str | None, Field(description="The `cursor` of the next page; null on the last one")]


class MessagesAnswer(BaseModel):
    session_id: str
    messages: list[dict[str, JsonValue]]
    cursor: Annotated[str, Field(description="The messages include all events up to here: go on with ?last_event_id=")]
    job_id: Annotated[str | None, Field(description="The running job; its messages are the last ones")]
    replay_from: Annotated[
        str | None,
        Field(
            description="Go on from here instead, without the messages of `job_id`, to receive all events of that job"
        ),
    ]
    question: _Question


class AnsweredAnswer(BaseModel):
    session_id: str
    job_id: str


class CancelAnswer(AnsweredAnswer):
    status: Annotated[Status, Field(description="At the time of the cancel; the end of the job follows as an event")]


class DeletedAnswer(BaseModel):
    session_id: str
    status: Literal["deleting"] = "deleting"


class TicketAnswer(BaseModel):
    ticket: str
    expires_at: Milliseconds


class SignInAnswer(BaseModel):
    tenant: str | None
    subject: str | None
    rights: list[str]
    expires_at: Milliseconds | None


class AgentAnswer(BaseModel):
    name: str
    input_schema: dict[str, JsonValue]


class AgentsAnswer(BaseModel):
    agents: list[AgentAnswer]


class FieldProblem(BaseModel):
    field: str
    detail: str


class Problem(BaseModel):
    """An error (RFC 9457). `code` is stable."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    field: str | None = None
    errors: list[FieldProblem] | None = None
    reasons: list[str] | None = None
    job_id: str | None = None


def json_response(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    fields = NO_STORE | (headers or {})
    return Response(orjson.dumps(content), status, fields, media_type="application/json")


def job_json(job: JobState) -> dict[str, Any]:
    ending = job.ending
    own: dict[str, Any] = {"session_id": public_id(job.session_id), "cursor": str(job.cursor)}
    own |= {"result": ending.get("result"), "error": ending.get("error")}
    return {name: own[name] if name in own else getattr(job, name) for name in JobAnswer.model_fields}


def session_json(session: SessionState) -> dict[str, Any]:
    current = job_json(session.current)
    return {name: current[name] for name in SessionAnswer.model_fields if name in current} | {
        "created_at": session.created_at,
        "cursor": str(session.cursor),
        "jobs": session.jobs,
        "line": session.backlog,
    }


def sessions_json(page: SessionsPage) -> dict[str, Any]:
    return {
        "sessions": [_summary_json(*listed) for listed in page.sessions],
        "next": page.more and str(page.more),
    }


def _summary_json(summary: SessionSummary, active_us: int) -> dict[str, Any]:
    own = {"title": summary.title, "created_at": summary.created_at, "updated_at": active_us // 1000}
    own |= {"session_id": public_id(summary.session_id), "cursor": str(summary.cursor)}
    return {
        name: own[name] if name in own else getattr(summary.current, name) for name in SessionSummaryAnswer.model_fields
    }


def messages_json(session_id: str, conversation: Conversation) -> dict[str, Any]:
    running = conversation.running
    return {
        "session_id": public_id(session_id),
        "messages": [Fragment(message) for message in conversation.messages],  # encoded already
        "cursor": str(conversation.cursor),
        "job_id": running and running.job_id,
        "replay_from": running and running.before and str(as_cursor(running.before)),
        "question": running and running.question,
    }


def no_messages_json(session_id: str) -> dict[str, Any]:
    """The messages of a session that does not exist yet."""
    nothing = {"job_id": None, "replay_from": None, "question": None}
    return {"session_id": public_id(session_id), "messages": [], "cursor": "", **nothing}


CODES = {
    400: "malformed_request; of a stream also cursor_invalid or request_behind_stream",
    401: "unauthenticated",
    403: "origin_not_allowed or forbidden",
    404: "session_unknown, job_unknown, agent_unknown, question_unknown or worker_unknown",
    406: "not_acceptable",
    408: "head_timeout or body_timeout",
    409: "session_busy or question_answered",
    410: "data_key_gone",
    413: "body_too_large",
    415: "unsupported_media_type",
    421: "host_not_allowed",
    422: "invalid_request, or idempotency_mismatch",
    426: "upgrade_required",
    429: "rate_limited; of a job also queue_full, tenant_queue_full or budget_exhausted",
    431: "head_too_large",
    500: "internal, or seal_broken",
    503: "log_unavailable, schema_newer or master_key_missing, of a job also no_agents (on /readyz not_ready)",
}


# The layers in front of all routes can return these.
OF_EVERY_CALL = (400, 401, 403, 408, 421, 429, 431, 500)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the errors of a route for OpenAPI."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    retry = {"Retry-After": {"description": "Seconds", "schema": {"type": "integer"}}}
    return {
        status: {"description": CODES[status], "content": content}
        | ({"headers": retry} if status in (429, 503) else {})
        for status in statuses
    }
