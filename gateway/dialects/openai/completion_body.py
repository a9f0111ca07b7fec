"""The request body of `POST /chat/completions`. docs/dialects/openai.md describes the effect of each parameter."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from holdfast.gateway.dialects.openai.messages import completion_input
from holdfast.gateway.dialects.openai.parameters import Metadata, Nothing, TextModality, TextOnly, job_body, parse
from pydantic import BaseModel, ConfigDict, Field

# Parameters of OpenAI that are accepted and have no effect.
IGNORED = frozenset(
    {
        *("frequency_penalty", "logit_bias", "parallel_tool_calls", "prediction", "presence_penalty"),
        *("prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "safety_identifier", "seed"),
        *("service_tier", "store", "top_logprobs", "top_p", "user", "verbosity"),
    }
)


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="ignore")

    include_usage: bool | None = None


class CompletionBody(BaseModel):
    """A chat completion to create."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: Annotated[str, Field(min_length=1, max_length=128)]
    messages: Any
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    metadata: Metadata = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    reasoning_effort: str | None = None

    n: Literal[1] | None = None
    response_format: TextOnly | None = None
    modalities: TextModality = None
    logprobs: Literal[False] | None = None
    audio: Nothing = None
    function_call: Nothing = None
    functions: Nothing = None
    moderation: Nothing = None
    stop: Nothing = None
    tools: Nothing = None
    web_search_options: Nothing = None

    tool_choice: Literal["auto", "none"] | None = None

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and bool(self.stream_options.include_usage)


def parse_completion_body(value: Any) -> CompletionBody:
    """Check the JSON value of a body. Raises BodyInvalid, ParameterUnsupported."""
    return parse(CompletionBody, value, IGNORED)


def completion_job(body: CompletionBody) -> dict[str, Any]:
    """Return the body of the job that makes a completion. Raises RequestInvalid."""
    limit = body.max_completion_tokens or body.max_tokens
    options = {"temperature": body.temperature, "max_tokens": limit, "reasoning_effort": body.reasoning_effort}
    return job_body(body.model, completion_input(body.messages), options, body.metadata or {})
