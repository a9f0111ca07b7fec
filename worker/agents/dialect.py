"""The interface of the chat agents to the API of a model provider, in openai.py and anthropic.py."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from holdfast.worker.agents.emitter import AnswerEmitter
from holdfast.worker.agents.messages import Message
from holdfast.worker.agents.models import Model
from holdfast.worker.agents.options import ChatOptions
from holdfast.worker.agents.tool_calls import Answer, ToolCall
from holdfast.worker.sdk.run import Run
from holdfast.worker.sdk.tools import Tool

# Why a model stopped, in one vocabulary for all providers.
STOP = "stop"
LENGTH = "length"
REFUSAL = "refusal"


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a model. `finish`: one of the words above, or the provider's own."""

    text: str
    calls: list[ToolCall]
    finish: str


class Conversation(Protocol):
    """A chat with a model. Stores its messages in the provider's format."""

    async def turn(self, before: list[Message], *, streamed: bool) -> Turn:
        """Request a turn and emit it. `before`: the messages before this conversation.

        Raises ProviderFailure; then the turn has no effect but for the emitted events."""

    def add(self, answers: list[Answer]) -> None:
        """Add the results of the last turn's calls."""


Converse = Callable[[Run, AnswerEmitter, Model, str, Any, dict[str, Tool]], AbstractAsyncContextManager[Conversation]]
"""Begins a conversation with a model, by its key, with these options and these tools."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """The client for one provider's API."""

    options: type[ChatOptions]
    converse: Converse


def dialect(provider: str) -> Dialect:
    """Return the dialect of a provider. The first call imports its SDK, which takes a while."""
    found: Dialect = importlib.import_module(f"holdfast.worker.agents.{provider}").DIALECT
    return found
