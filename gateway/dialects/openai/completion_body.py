"""The request body of `POST /chat/completions`. docs/dialects/openai.md describes the effect of each parameter."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from holdfast.gateway.dialects.openai.messages import completion_input
from holdfast.gateway.dialects.openai.parameters import (
    Extras,
    JsonFormat,
    Metadata,
    Nothing,
    TextModality,
    job_options,
    parse,
)
from pydantic import BaseModel, ConfigDict, Field

MAX_STOPS = 16
Stop = Annotated[list[str], Field(max_length=MAX_STOPS)]


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="ignore")

    include_usage: bool | None = None


class CompletionBody(BaseModel):
    """A chat completion to create."""

    model_config = ConfigDict(extra="ignore", strict=True)

    model: Annotated[str, Field(min_length=1, max_length=128)]
    messages: Any
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    metadata: Metadata = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    reasoning_effort: str | None = None
    stop: str | Stop | None = None
    holdfast: Extras | None = None

    n: Literal[1] | None = None
    response_format: JsonFormat | None = None
    modalities: TextModality = None
    logprobs: Literal[False] | None = None
    audio: Nothing = None
    function_call: Nothing = None
    functions: Nothing = None
    moderation: Nothing = None
    tools: Nothing = None
    web_search_options: Nothing = None

    tool_choice: Literal["auto", "none"] | None = None

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and bool(self.stream_options.include_usage)


def parse_completion_body(value: Any) -> CompletionBody:
    """Check the JSON value of a body. Raises BodyInvalid, ParameterUnsupported."""
    return parse(CompletionBody, value)


def completion_job(body: CompletionBody) -> dict[str, Any]:
    """Return the body of the job that makes a completion. Raises RequestInvalid."""
    options = {
        "temperature": body.temperature,
        "max_tokens": body.max_completion_tokens or body.max_tokens,
        "reasoning_effort": body.reasoning_effort,
        "stop": [body.stop] if isinstance(body.stop, str) else body.stop,
        "response_format": None if body.response_format is None else body.response_format.option(),
    }
    return {
        "agent": body.model,
        "input": completion_input(body.messages),
        "options": job_options(options, body.holdfast),
        "metadata": body.metadata or {},
    }
