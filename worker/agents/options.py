"""The options of a chat with a provider's model, and how a bad one is refused."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from worker.run import AgentError
from worker.tools import Tool, ToolUnknown, find_tools
from worker.validation import faults


class ChatOptions(BaseModel):
    """What every chat agent understands. Anything else in `options` is an error, so that a misspelt one is noticed."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str = Field(min_length=1, max_length=200)
    system: str | None = None
    tools: list[str] = Field([], max_length=64)
    max_tokens: int | None = Field(None, ge=1)
    max_steps: int = Field(10, ge=1, le=100, description="Rounds of the model; the tools of the last one still run")
    idle_timeout_s: float = Field(300, gt=0, le=3600, description="How long the provider may stay silent")


Options = TypeVar("Options", bound=ChatOptions)


def parse_options(kind: type[Options], given: dict[str, Any]) -> Options:
    """The job's options. Raises AgentError `options_invalid`, which names each option that cannot be used."""
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise AgentError("options_invalid", f"The job's options cannot be used: {faults(error)}") from None


def chosen_tools(options: ChatOptions) -> dict[str, Tool]:
    """The tools that the job asks for. Raises AgentError `options_invalid` for one that there is not."""
    try:
        return find_tools(options.tools)
    except ToolUnknown as error:
        raise AgentError("options_invalid", f"The job's options cannot be used: tools: {error}") from None
