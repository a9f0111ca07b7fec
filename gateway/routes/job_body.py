"""The request bodies of a job and of an answer: their validation and conversion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from itertools import islice
from typing import Annotated, Any, Literal, TypeVar

import orjson
from holdfast.gateway.dependencies import known_job
from holdfast.gateway.errors import MAX_PROBLEMS, NOT_JSON, BodyInvalid, body_invalid, limit_unknown_fields
from holdfast.gateway.webhooks import WEBHOOK_EVENTS
from holdfast.shared.budget import write_amounts
from holdfast.shared.errors import EventInvalid, RequestInvalid
from holdfast.shared.log.events import MAX_EVENT_BYTES, encode
from holdfast.shared.sessions import JobRequest
from holdfast.shared.webhooks.target import MAX_URL_BYTES
from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema

MAX_TIMEOUT_S = 86_400
MAX_AMOUNT = 10**12
MAX_METADATA_BYTES = 16 * 1024
MAX_OPTIONS_BYTES = 256 * 1024
MAX_VALUE_BYTES = MAX_EVENT_BYTES - 4096
MAX_TITLE_CHARACTERS = 80
ROLES = ("user", "assistant", "system", "tool")

_STRICT = ConfigDict(extra="forbid", strict=True)
_LOOKED_AT = 1000  # characters of an input, for the title, before whitespace is collapsed
_WEBHOOK_SCHEMA = {
    "type": ["object", "null"],
    "required": ["url"],
    "additionalProperties": False,
    "properties": {
        "url": {"type": "string", "format": "uri", "maxLength": MAX_URL_BYTES},
        "events": {"type": "array", "minItems": 1, "items": {"enum": list(WEBHOOK_EVENTS)}},
    },
    "description": "Called at the job's end and when it asks a question, see docs/webhooks.md",
}
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


Parsed = TypeVar("Parsed", bound=BaseModel)
Objects = Annotated[list[dict[str, Any]], Field(fail_fast=True)]


class BudgetBody(BaseModel):
    """What the job may use over all of its attempts. Absent limits are those of the deployment."""

    model_config = ConfigDict(**_STRICT, json_schema_extra={"examples": [{"tokens": 100_000, "cost_usd": 0.5}]})

    tokens: Annotated[int | None, Field(ge=1, le=MAX_AMOUNT, description="Of input and output")] = None
    cost_usd: Annotated[float | None, Field(gt=0, le=MAX_AMOUNT, description="By the prices of the deployment")] = None
    seconds: Annotated[
        float | None, Field(gt=0, le=MAX_AMOUNT, description="Run time, without waiting for a person")
    ] = None
    tool_calls: Annotated[int | None, Field(ge=1, le=MAX_AMOUNT)] = None


class ClientBody(BaseModel):
    """What the page shows and offers, which the agent reads as `run.client`."""

    model_config = _STRICT

    state: Annotated[Any, Field(description="Any JSON that the page and its agents agree on")] = None
    context: Annotated[Objects | None, Field(description="What the page says about itself: `description`, `value`")] = (
        None
    )
    tools: Annotated[
        Objects | None,
        Field(description="Tools of the page: `name`, `description`, `parameters`. They cannot be called"),
    ] = None


class JobBody(BaseModel):
    """A job: one run of an agent."""

    model_config = ConfigDict(
        **_STRICT, json_schema_extra={"examples": [{"agent": "demo", "input": "Compare three kinds of tea"}]}
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
    after: Annotated[
        str | None,
        Field(
            max_length=128,
            description="The job of the session that this one follows: its agent reads the conversation up to the end "
            "of that job. `null`: it begins anew. Default: the newest job",
        ),
    ] = None
    client: Annotated[
        ClientBody | None,
        Field(description=f"What the page shows and offers. Each member has at most {MAX_OPTIONS_BYTES} bytes of JSON"),
    ] = None
    webhook: Annotated[dict[str, Any] | None, WithJsonSchema(_WEBHOOK_SCHEMA)] = None
    budget: Annotated[
        BudgetBody | None, Field(description="Ends the job as failed with `budget_exceeded` when it is used up")
    ] = None


class AnswerBody(BaseModel):
    """A person's answer."""

    model_config = ConfigDict(**_STRICT, json_schema_extra={"examples": [{"question_id": "q1", "value": "Green"}]})

    question_id: Annotated[
        str | None,
        Field(min_length=1, max_length=128, pattern=r"^[\x21-\x7e]+$", description="Default: the pending question"),
    ] = None
    value: Annotated[Any, WithJsonSchema({})]


def parse_answer_body(value: Any) -> AnswerBody:
    """Check the JSON value of a body. Raises BodyInvalid, which names the invalid fields."""
    return _parsed(AnswerBody, value)


def encoded_value(answer: AnswerBody) -> bytes:
    """Encode the value as JSON. Raises RequestInvalid if it cannot be encoded or does not fit in an event."""
    value = _encoded("value", answer.value)
    if len(value) > MAX_VALUE_BYTES:
        raise RequestInvalid("value", f"must have at most {MAX_VALUE_BYTES} bytes of JSON")
    return value


def parse_job_body(value: Any) -> JobBody:
    """Check the JSON value of a body. Raises BodyInvalid, which names the invalid fields."""
    body = _parsed(JobBody, value)
    _check_input(body.input)
    return body


def _parsed(model: type[Parsed], value: Any) -> Parsed:
    try:
        return model.model_validate(limit_unknown_fields(model, value))
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        raise body_invalid([{**one, "loc": one["loc"][:1]} for one in problems], "body") from None


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
    """Convert a body without an idempotency key. Raises RequestInvalid, and JobUnknown for an `after` that is no id."""
    given = _encoded("input", body.input)
    return JobRequest(
        agent=body.agent,
        input=given,
        options=_encoded("options", body.options, MAX_OPTIONS_BYTES),
        metadata=_encoded("metadata", body.metadata, MAX_METADATA_BYTES),
        timeout_s=body.timeout_s,
        on_busy=body.on_busy,
        idempotency_key=None,
        digest="",
        title=title_of(body.input, given),
        budget=b"" if body.budget is None else write_amounts(body.budget.model_dump(exclude_none=True)),
        after=_after(body),
        client=_client(body.client),
    )


def _client(body: ClientBody | None) -> bytes:
    """Encode what is given; empty for nothing. Raises RequestInvalid, which names the member."""
    given = {name: value for name, value in body or () if value is not None}
    for name, value in given.items():
        _encoded(f"client.{name}", value, MAX_OPTIONS_BYTES)
    return encode(given) if given else b""


def _after(body: JobBody) -> str | None:
    """Return the job to follow; empty for none, None where the body lacks `after`."""
    if "after" not in body.model_fields_set:
        return None
    return "" if body.after is None else known_job(body.after)


def with_key(request: JobRequest, body: JobBody, idempotency_key: str) -> JobRequest:
    """Add an idempotency key. The digest does not depend on whitespace or the order of members.

    Raises RequestInvalid if the body is nested too deeply as a whole."""
    try:
        whole = orjson.dumps(_digested(body), option=orjson.OPT_SORT_KEYS)
    except TypeError:
        raise RequestInvalid("body", NOT_JSON) from None
    return replace(request, idempotency_key=idempotency_key, digest=sha256(whole).hexdigest())


def _digested(body: JobBody) -> dict[str, Any]:
    """Return the members of a body. Without those of later versions it has the digest that earlier ones compute."""
    members = dict(body)
    members.pop("after")
    added = {"webhook": members.pop("webhook"), "budget": members.pop("budget")}
    added["budget"] = added["budget"] and added["budget"].model_dump()
    added["client"] = (client := members.pop("client")) and dict(client)
    added["after"] = _after(body)
    return members | {name: value for name, value in added.items() if value is not None}


def _encoded(field: str, value: Any, most: int | None = None) -> bytes:
    try:
        encoded = encode(value)
    except EventInvalid:
        raise RequestInvalid(field, NOT_JSON) from None
    if most is not None and len(encoded) > most:
        raise RequestInvalid(field, f"must have at most {most} bytes of JSON, has {len(encoded)}")
    return encoded


def title_of(given: Any, encoded: bytes) -> str:
    """Return a title of at most MAX_TITLE_CHARACTERS: the text, the first user message, or else the JSON of the input.

    Args:
        encoded: the same input as JSON.
    """
    words = " ".join(_text(given, encoded)[:_LOOKED_AT].split())
    return words if len(words) <= MAX_TITLE_CHARACTERS else words[: MAX_TITLE_CHARACTERS - 1].rstrip() + "…"


def _text(given: Any, encoded: bytes) -> str:
    if isinstance(given, str):
        return given
    messages = given.get("messages") if isinstance(given, dict) else None
    for message in messages if isinstance(messages, list) else []:
        if isinstance(message, dict) and message.get("role") == "user":
            return _content(message.get("content"))
    return encoded[: 4 * _LOOKED_AT].decode(errors="ignore")  # UTF-8: up to 4 bytes per character


def _content(content: Any) -> str:
    """Return the text of a message's content: a string, or a list of parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return " ".join(part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str))
