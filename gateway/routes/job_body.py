"""The body of a job: what is allowed in it, and how it becomes a request to the session."""

from __future__ import annotations

from hashlib import sha256
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, WithJsonSchema

from gateway.errors import body_invalid
from gateway.titles import title_of
from shared.errors import EventInvalid, RequestInvalid
from shared.events import encode
from shared.sessions import JobRequest

MAX_TIMEOUT_S = 86_400
_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
_INPUT_SCHEMA = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "properties": {
                "messages": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "required": ["role", "content"],
                        "properties": {
                            "role": {"enum": ["user", "assistant", "system", "tool"]},
                            "content": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}]},
                        },
                    },
                }
            },
        },
    ],
    "description": "A text, or an object such as {messages: [{role, content}]}",
}


class JobBody(BaseModel):
    """One run of an agent."""

    model_config = _STRICT | {
        "json_schema_extra": {"examples": [{"agent": "demo", "input": "Compare three kinds of tea"}]},
    }

    agent: Annotated[str, Field(min_length=1, max_length=128, description="One of GET /v1/agents")]
    input: Annotated[JsonValue, WithJsonSchema(_INPUT_SCHEMA)]
    options: Annotated[dict[str, JsonValue], Field(description="What the agent understands, as `model`")] = {}
    metadata: Annotated[dict[str, JsonValue], Field(description="Yours; comes back in the state of the job")] = {}
    timeout_s: Annotated[int, Field(ge=1, le=MAX_TIMEOUT_S, description="How long one attempt may run")] = 600
    on_busy: Annotated[
        Literal["queue", "reject", "interrupt"],
        Field(description="When the session has a job: wait in line, 409 session_busy, or cancel it and go first"),
    ] = "queue"


class _Message(BaseModel):
    model_config = _STRICT | {"extra": "allow"}

    role: Literal["user", "assistant", "system", "tool"]
    content: str | list[dict[str, JsonValue]]


class _Messages(BaseModel):
    model_config = _STRICT | {"extra": "allow"}

    messages: Annotated[list[_Message], Field(min_length=1)]


def parse_job_body(value: Any) -> JobBody:
    """Check the JSON value of a body. Raises BodyInvalid, which names every field that cannot be used."""
    try:
        body = JobBody.model_validate(value)
    except ValidationError as error:
        problems = [{**one, "loc": one["loc"][:1]} for one in error.errors()]
        raise body_invalid(problems, "body") from None
    _check_input(body.input)
    return body


def _check_input(value: JsonValue) -> None:
    if not isinstance(value, str | dict):
        raise RequestInvalid("input", "must be a text or an object such as {messages: [...]}")
    if isinstance(value, dict) and "messages" in value:
        try:
            _Messages.model_validate(value)
        except ValidationError as error:
            # messages, which one, its field: what is deeper names alternatives of ours
            problems = [{**one, "loc": ("input", *one["loc"][:3])} for one in error.errors()]
            raise body_invalid(problems, "input") from None


def job_request(body: JobBody, idempotency_key: str | None) -> JobRequest:
    """What the session keeps of a body. The digest is the same for every spelling of the same JSON."""
    fields = {name: _encoded(name, value) for name, value in body}
    return JobRequest(
        agent=body.agent,
        input=fields["input"],
        options=fields["options"],
        metadata=fields["metadata"],
        timeout_s=body.timeout_s,
        on_busy=body.on_busy,
        idempotency_key=idempotency_key,
        title=title_of(body.input),
        digest=sha256(orjson.dumps(body.model_dump(), option=orjson.OPT_SORT_KEYS)).hexdigest(),
    )


def _encoded(field: str, value: Any) -> bytes:
    try:
        return encode(value)
    except EventInvalid:
        raise RequestInvalid(field, "whole numbers have at most 64 bits, and nesting has an end") from None
