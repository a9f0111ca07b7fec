"""The body of an answer to an agent's question."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from gateway.errors import body_invalid
from shared.errors import EventInvalid, RequestInvalid
from shared.events import MAX_EVENT_BYTES, encode

MAX_VALUE_BYTES = MAX_EVENT_BYTES - 4096


class AnswerBody(BaseModel):
    """What a person says."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        json_schema_extra={"examples": [{"question_id": "q1", "value": "Green"}]},
    )

    question_id: Annotated[
        str | None,
        Field(min_length=1, max_length=128, pattern=r"^[\x21-\x7e]+$", description="Left out: the one that waits"),
    ] = None
    value: JsonValue


def parse_answer_body(value: Any) -> AnswerBody:
    """Check the JSON value of a body. Raises BodyInvalid, which names every field that cannot be used."""
    try:
        return AnswerBody.model_validate(value)
    except ValidationError as error:
        raise body_invalid([{**one, "loc": one["loc"][:1]} for one in error.errors()], "body") from None


def encoded_value(answer: AnswerBody) -> bytes:
    """The value as JSON. Raises RequestInvalid when it cannot be written, or fits no event."""
    try:
        value = encode(answer.value)
    except EventInvalid:
        raise RequestInvalid("value", "whole numbers have at most 64 bits, and nesting has an end") from None
    if len(value) > MAX_VALUE_BYTES:
        raise RequestInvalid("value", f"at most {MAX_VALUE_BYTES} bytes, since it becomes an event")
    return value
