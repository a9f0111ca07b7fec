"""Parse the options of chat jobs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, TypeVar

from holdfast.worker.sdk.run import AgentError
from holdfast.worker.sdk.tools import Tool, ToolUnknown, find_tools
from holdfast.worker.sdk.validation import faults
from pydantic import BaseModel, ConfigDict, Field, ValidationError

Name = Annotated[str, Field(min_length=1, max_length=200)]

# The value of `on_failure` besides model names.
FAIL = "fail"
NON_STREAMED = "non_streamed"


class ChatOptions(BaseModel):
    """The options of all chat agents. Unknown options are errors, so that misspelt ones are noticed."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: Name | None = None
    system: str | None = None
    tools: list[str] = Field([], max_length=64)
    max_tokens: int | None = Field(None, ge=1)
    max_steps: int = Field(10, ge=1, le=100, description="Rounds of the model; the tools of the last one still run")
    idle_timeout_s: float = Field(300, gt=0, le=3600, description="How long the provider may stay silent")
    retries: int = Field(2, ge=0, le=10, description="Further tries while the model has said nothing")
    on_failure: Name | Annotated[list[Name], Field(max_length=5)] | None = Field(
        None, description="`fail`, or what takes over: `non_streamed`, or a model; of several one after the other"
    )
    context_tokens: int = Field(100_000, ge=1, description="What may be sent of the conversation, about")

    def fallbacks(self, own: Iterable[str]) -> list[str]:
        """Return the fallbacks in order: those of the job, else those of the model."""
        names = list(own) if self.on_failure is None else self.on_failure
        names = [names] if isinstance(names, str) else names
        return [] if names == [FAIL] else names


Options = TypeVar("Options", bound=ChatOptions)


def common_options(given: dict[str, Any]) -> dict[str, Any]:
    """Return the options that all providers support."""
    return {name: value for name, value in given.items() if name in ChatOptions.model_fields}


def parse_options(kind: type[Options], given: dict[str, Any]) -> Options:
    """Parse the job's options. Raises AgentError `options_invalid`, which names each invalid option."""
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise AgentError("options_invalid", f"The job's options cannot be used: {faults(error)}") from None


def chosen_tools(options: ChatOptions) -> dict[str, Tool]:
    """Return the tools that the job requests. Raises AgentError `options_invalid` for an unknown one."""
    try:
        return find_tools(options.tools)
    except ToolUnknown as error:
        raise AgentError("options_invalid", f"The job's options cannot be used: tools: {error}") from None
