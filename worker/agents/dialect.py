"""What the agents need of a provider: a conversation, in whatever way its API has one."""

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
from holdfast.worker.run import Run
from holdfast.worker.tools import Tool

# Why a model stopped, in one set of words for all providers.
STOP = "stop"
LENGTH = "length"
REFUSAL = "refusal"


@dataclass(frozen=True, slots=True)
class Turn:
    """What a model said in one turn, and why it stopped: one of the words above, or the provider's own."""

    text: str
    calls: list[ToolCall]
    finish: str


class Conversation(Protocol):
    """A model's side of a chat. It remembers what was said in it, in the shape that the provider wants back."""

    async def turn(self, before: list[Message], *, streamed: bool) -> Turn:
        """Have the model speak, emitting as it does. `before` is what was said before the conversation began.

        Raises ProviderFailure; then the turn is as if it had never been, but for what was emitted."""

    def add(self, answers: list[Answer]) -> None:
        """Tell the model what its calls of the last turn gave."""


Converse = Callable[[Run, AnswerEmitter, Model, str, Any, dict[str, Tool]], AbstractAsyncContextManager[Conversation]]
"""Begins a conversation with a model, by its key, with these options and these tools."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How to talk with the models of one provider."""

    options: type[ChatOptions]
    converse: Converse


def dialect(provider: str) -> Dialect:
    """The dialect of a provider. The first call imports its SDK, which takes a while."""
    found: Dialect = importlib.import_module(f"holdfast.worker.agents.{provider}").DIALECT
    return found
