"""The request body of a job: its validation and its conversion to a JobRequest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from itertools import islice
from typing import Annotated, Any, Literal

import orjson
from holdfast.gateway.errors import MAX_PROBLEMS, NOT_JSON, BodyInvalid, body_invalid, limit_unknown_fields
from holdfast.gateway.titles import title_of
from holdfast.shared.errors import EventInvalid, RequestInvalid
from holdfast.shared.log.events import encode
from holdfast.shared.sessions import JobRequest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema

MAX_TIMEOUT_S = 86_400
MAX_METADATA_BYTES = 16 * 1024
MAX_OPTIONS_BYTES = 256 * 1024
ROLES = ("user", "assistant", "system", "tool")

_BOUNDS = {"metadata": MAX_METADATA_BYTES, "options": MAX_OPTIONS_BYTES}
_TEXT_PART = {
    "type": "object",
    "required": ["type", "text"],
    "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
}
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
                            "role": {"enum": list(ROLES)},
                            "content": {"anyOf": [{"type": "string"}, {"type": "array", "items": _TEXT_PART}]},
                        },
                    },
                }
            },
        },
    ],
    "description": "A string, or an object such as {messages: [{role, content}]}. GET /v1/agents has the schema of "
    "each agent, which may allow other objects and other message parts",
}


class JobBody(BaseModel):
    """A job: one run of an agent."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"agent": "demo", "input": "Compare three kinds of tea"}]},
    )

    agent: Annotated[str, Field(min_length=1, max_length=128, description="One of GET /v1/agents")]
    input: Annotated[Any, WithJsonSchema(_INPUT_SCHEMA)]
    options: Annotated[
        dict[str, Any],
        Field(description=f"Options of the agent, such as `model`. At most {MAX_OPTIONS_BYTES} bytes of JSON"),
    ] = {}
    metadata: Annotated[
        dict[str, Any],
        Field(description=f"Your own data, returned with the job. At most {MAX_METADATA_BYTES} bytes of JSON"),
    ] = {}
    timeout_s: Annotated[int, Field(ge=1, le=MAX_TIMEOUT_S, description="How long one attempt may run")] = 600
    on_busy: Annotated[
        Literal["queue", "reject", "interrupt"],
        Field(description="If the session has an open job: wait, 409 session_busy, or cancel it and run next"),
    ] = "queue"


def parse_job_body(value: Any) -> JobBody:
    """Check the JSON value of a body. Raises BodyInvalid, which names the invalid fields."""
    try:
        body = JobBody.model_validate(limit_unknown_fields(JobBody, value))
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        raise body_invalid([{**one, "loc": one["loc"][:1]} for one in problems], "body") from None
    _check_input(body.input)
    return body


def _check_input(value: Any) -> None:
    if not isinstance(value, str | dict):
        raise RequestInvalid("input", "must be a string or an object such as {messages: [...]}")
    if isinstance(value, dict) and "messages" in value:
        problems = list(islice(_message_problems(value["messages"]), MAX_PROBLEMS))
        if problems:
            raise BodyInvalid(problems)


def _message_problems(messages: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(messages, list):
        yield "input.messages", "should be an array"
        return
    if not messages:
        yield "input.messages", "should have at least 1 item"
    for index, message in enumerate(messages):
        field = f"input.messages.{index}"
        if not isinstance(message, dict):
            yield field, "should be an object"
            continue
        if message.get("role") not in ROLES:
            yield f"{field}.role", f"should be one of {', '.join(ROLES)}"
        if not _is_content(message.get("content")):
            yield f"{field}.content", "should be a string or an array of objects"


def _is_content(content: Any) -> bool:
    return isinstance(content, str) or (isinstance(content, list) and all(isinstance(part, dict) for part in content))


def job_request(body: JobBody) -> JobRequest:
    """Convert a body without an idempotency key. Raises RequestInvalid."""
    given = _encoded("input", body.input)
    return JobRequest(
        agent=body.agent,
        input=given,
        options=_encoded("options", body.options),
        metadata=_encoded("metadata", body.metadata),
        timeout_s=body.timeout_s,
        on_busy=body.on_busy,
        idempotency_key=None,
        digest="",
        title=title_of(body.input, given),
    )


def with_key(request: JobRequest, body: JobBody, idempotency_key: str) -> JobRequest:
    """Add an idempotency key. The digest does not depend on whitespace or the order of members."""
    digest = sha256(orjson.dumps(dict(body), option=orjson.OPT_SORT_KEYS)).hexdigest()
    return replace(request, idempotency_key=idempotency_key, digest=digest)


def _encoded(field: str, value: Any) -> bytes:
    try:
        encoded = encode(value)
    except EventInvalid:
        raise RequestInvalid(field, NOT_JSON) from None
    if len(encoded) > _BOUNDS.get(field, len(encoded)):
        raise RequestInvalid(field, f"must have at most {_BOUNDS[field]} bytes of JSON, has {len(encoded)}")
    return encoded
