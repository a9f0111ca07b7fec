"""The request body of an answer to an agent's question."""

from __future__ import annotations

from typing import Annotated, Any

from holdfast.gateway.errors import NOT_JSON, body_invalid, limit_unknown_fields
from holdfast.shared.errors import EventInvalid, RequestInvalid
from holdfast.shared.log.events import MAX_EVENT_BYTES, encode
from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema

MAX_VALUE_BYTES = MAX_EVENT_BYTES - 4096


class AnswerBody(BaseModel):
    """A person's answer."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"question_id": "q1", "value": "Green"}]},
    )

    question_id: Annotated[
        str | None,
        Field(min_length=1, max_length=128, pattern=r"^[\x21-\x7e]+$", description="Default: the pending question"),
    ] = None
    value: Annotated[Any, WithJsonSchema({})]


def parse_answer_body(value: Any) -> AnswerBody:
    """Check the JSON value of a body. Raises BodyInvalid, which names the invalid fields."""
    try:
        return AnswerBody.model_validate(limit_unknown_fields(AnswerBody, value))
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        raise body_invalid([{**one, "loc": one["loc"][:1]} for one in problems], "body") from None


def encoded_value(answer: AnswerBody) -> bytes:
    """Encode the value as JSON. Raises RequestInvalid if it cannot be encoded or does not fit in an event."""
    try:
        value = encode(answer.value)
    except EventInvalid:
        raise RequestInvalid("value", NOT_JSON) from None
    if len(value) > MAX_VALUE_BYTES:
        raise RequestInvalid("value", f"must have at most {MAX_VALUE_BYTES} bytes of JSON")
    return value
