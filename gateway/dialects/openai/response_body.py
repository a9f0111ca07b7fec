"""The request body of `POST /responses`. docs/dialects/openai.md describes the effect of each parameter."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from holdfast.gateway.dialects.openai.messages import response_input
from holdfast.gateway.dialects.openai.parameters import Extras, JsonFormat, Metadata, Nothing, job_options, parse
from holdfast.gateway.dialects.openai.response_object import ECHO
from holdfast.shared.errors import RequestInvalid
from pydantic import BaseModel, ConfigDict, Field


class Reasoning(BaseModel):
    model_config = ConfigDict(extra="ignore")

    effort: str | None = None


class TextSettings(BaseModel):
    model_config = ConfigDict(extra="ignore")

    format: JsonFormat | None = None


class ResponseBody(BaseModel):
    """A response to create."""

    model_config = ConfigDict(extra="ignore", strict=True)

    model: Annotated[str, Field(min_length=1, max_length=128)]
    input: Any
    instructions: str | None = None
    background: bool | None = None
    stream: bool | None = None
    previous_response_id: str | None = None
    metadata: Metadata = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    reasoning: Reasoning | None = None
    text: TextSettings | None = None
    holdfast: Extras | None = None

    tools: Nothing = None
    conversation: Nothing = None
    prompt: Nothing = None
    moderation: Nothing = None

    store: bool | None = None
    tool_choice: Literal["auto", "none"] | None = None

    @property
    def effort(self) -> str | None:
        return None if self.reasoning is None else self.reasoning.effort

    @property
    def format(self) -> dict[str, Any] | None:
        return None if self.text is None or self.text.format is None else self.text.format.option()

    def echo(self) -> dict[str, Any]:
        """Return the parameters that the response repeats, as they were given."""
        given = {
            "background": self.background,
            "max_output_tokens": self.max_output_tokens,
            "previous_response_id": self.previous_response_id,
            "reasoning": None if self.effort is None else {"effort": self.effort, "summary": None},
            "store": self.store,
            "temperature": self.temperature,
        }
        return {name: value for name, value in given.items() if value is not None}


def parse_response_body(value: Any) -> ResponseBody:
    """Check the JSON value of a body. Raises BodyInvalid, ParameterUnsupported."""
    body = parse(ResponseBody, value)
    if body.metadata and ECHO in body.metadata:
        raise RequestInvalid("metadata", f'must not have the key "{ECHO}"')
    return body


def response_job(body: ResponseBody, given: Any, previous: str | None) -> dict[str, Any]:
    """Return the body of the job that makes a response. Raises RequestInvalid.

    Args:
        given: its input, with the items that it refers to.
        previous: the job of the response that it continues.
    """
    options = {
        "temperature": body.temperature,
        "max_tokens": body.max_output_tokens,
        "reasoning_effort": body.effort,
        "response_format": body.format,
    }
    return {
        "agent": body.model,
        "input": response_input(given, body.instructions),
        "options": job_options(options, body.holdfast),
        "metadata": {**(body.metadata or {}), ECHO: body.echo()},
        **({} if previous is None else {"after": previous}),
    }
