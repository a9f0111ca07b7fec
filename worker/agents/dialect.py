"""The interface of the chat agents to the API of a model provider, in openai.py and anthropic.py, and the options of
their jobs."""

from __future__ import annotations

import importlib
import ssl
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Annotated, Any, TypeVar

import httpx
from holdfast.worker.agents.emitter import AnswerEmitter
from holdfast.worker.agents.messages import Message
from holdfast.worker.agents.models import Model
from holdfast.worker.agents.provider_errors import Provider
from holdfast.worker.agents.tool_calls import Answer, ToolCall
from holdfast.worker.sdk.run import AgentError, Run
from holdfast.worker.sdk.tools import Tool, ToolUnknown, faults, find_tools
from pydantic import BaseModel, ConfigDict, Field, ValidationError

# Why a model stopped, in one vocabulary for all providers.
STOP = "stop"
LENGTH = "length"
REFUSAL = "refusal"

CONNECT_TIMEOUT_S = 10.0
WRITE_TIMEOUT_S = 60.0


Name = Annotated[str, Field(min_length=1, max_length=200)]

# The value of `on_failure` besides model names.
FAIL = "fail"
NON_STREAMED = "non_streamed"


class ChatOptions(BaseModel):
    """The options of all chat agents. Unknown options are errors, so that misspelt ones are found."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: Name | None = None
    system: str | None = None
    tools: list[str] = Field([], max_length=64)
    max_tokens: int | None = Field(None, ge=1)
    stop: list[str] = Field([], max_length=16, description="Texts before which the model stops")
    response_format: dict[str, Any] | None = Field(None, description="In the form of OpenAI's Chat Completions")
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


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a model. `finish`: one of the words above, or the provider's own."""

    text: str
    calls: list[ToolCall]
    finish: str


class Conversation:
    """A chat with a model. Stores its messages in the provider's format."""

    def __init__(
        self,
        run: Run,
        emitter: AnswerEmitter,
        client: Any,
        model: Model,
        options: ChatOptions,
        tools: dict[str, Tool],
    ) -> None:
        self._run = run
        self._emitter = emitter
        self._client = client
        self._model = model
        self._options = options
        self._tools = tools
        self._provider = Provider(model.title, [client.api_key])
        self._messages: list[dict[str, Any]] = []

    async def turn(self, before: list[Message], *, streamed: bool) -> Turn:
        """Request a turn and emit it. `before`: the messages before this conversation.

        Raises ProviderFailure; then the turn has no effect but for the emitted events."""
        raise NotImplementedError

    def add(self, answers: list[Answer]) -> None:
        """Add the results of the last turn's calls."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Dialect:
    """The client for one provider's API. `client` opens one for a job, by model, key and options."""

    options: type[ChatOptions]
    client: Callable[[Model, str, Any], AbstractAsyncContextManager[Any]]
    conversation: type[Conversation]


def dialect(provider: str) -> Dialect:
    """Return the dialect of a provider. The first call imports its SDK, which takes a while.

    Raises ImportError where the SDK is not installed, or is older than the extra of the provider allows."""
    found: Dialect = importlib.import_module(f"holdfast.worker.agents.{provider}").DIALECT
    return found


def http_library(timeout: type) -> ModuleType:
    """Return the HTTP library of an SDK, by the `Timeout` that the SDK exports: httpx2, or httpx before openai 3 and
    anthropic 1."""
    return httpx if timeout is httpx.Timeout else importlib.import_module("httpx2")


@cache
def tls(http: ModuleType) -> ssl.SSLContext:
    """Load the trusted certificates once, which takes longer than the rest of creating a client."""
    context: ssl.SSLContext = http.create_ssl_context()
    return context


def timeouts(http: ModuleType, idle_timeout_s: float) -> Any:
    """Return timeouts of the library. The idle timeout applies between pieces of an answer, and before the first."""
    return http.Timeout(connect=CONNECT_TIMEOUT_S, read=idle_timeout_s, write=WRITE_TIMEOUT_S, pool=CONNECT_TIMEOUT_S)


def common_options(given: dict[str, Any]) -> dict[str, Any]:
    """Return the options that all providers support."""
    return {name: value for name, value in given.items() if name in ChatOptions.model_fields}


def parse_options(kind: type[Options], given: dict[str, Any]) -> Options:
    """Parse the job's options. Raises AgentError `options_invalid`, which names each invalid option."""
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise options_invalid(faults(error)) from None


def options_invalid(reason: str) -> AgentError:
    """Return the error of a job whose options cannot be used."""
    return AgentError("options_invalid", f"The job's options cannot be used: {reason}")


def chosen_tools(options: ChatOptions) -> dict[str, Tool]:
    """Return the tools that the job requests. Raises AgentError `options_invalid` for an unknown one."""
    try:
        return find_tools(options.tools)
    except ToolUnknown as error:
        raise options_invalid(f"tools: {error}") from None
