"""Run a job's models as a fallback chain: the next one is used when one fails."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from holdfast.worker.agents.dialect import (
    NON_STREAMED,
    ChatOptions,
    Conversation,
    Dialect,
    Turn,
    common_options,
    dialect,
    options_invalid,
    parse_options,
)
from holdfast.worker.agents.emitter import AnswerEmitter
from holdfast.worker.agents.messages import Message, ToolUse, fitting, tokens
from holdfast.worker.agents.models import Model, ModelForbidden, resolve
from holdfast.worker.agents.provider_call import measured
from holdfast.worker.agents.provider_errors import Provider, ProviderFailure, with_retries
from holdfast.worker.agents.tool_calls import Answer
from holdfast.worker.sdk.run import Run
from holdfast.worker.sdk.tools import Tool


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model of the chain, with its key, dialect and options."""

    name: str
    model: Model
    key: str
    dialect: Dialect
    options: ChatOptions


def candidates_of(
    given: dict[str, Any], own: Model, models: Mapping[str, Model], allowed: frozenset[str] | None
) -> list[Candidate | None]:
    """Return the models that a job's options name, in order. None stands for the model before, without streaming.

    `allowed`: the names that the job's tenant may use; None: all. Fallbacks of the deployment that it may not use are
    left out.

    Raises AgentError `options_invalid`, and `provider_no_key` or `provider_not_installed` where the key or the SDK
    of any of the models is missing."""
    named = given.get("model")
    try:
        chosen = resolve(named, own, models, allowed) if isinstance(named, str) and named else own
        first = _candidate(chosen.name, chosen, given)
        names = first.options.fallbacks(name for name in chosen.on_failure if _is_allowed(name, allowed))
        return [first, *(_fallback(name, chosen, models, allowed, given) for name in names)]
    except ModelForbidden as error:
        raise options_invalid(str(error)) from None


def _is_allowed(name: str, allowed: frozenset[str] | None) -> bool:
    return allowed is None or name in allowed or name == NON_STREAMED


def _fallback(
    name: str, chosen: Model, models: Mapping[str, Model], allowed: frozenset[str] | None, given: dict[str, Any]
) -> Candidate | None:
    if name == NON_STREAMED:
        return None
    model = resolve(name, chosen, models, allowed)
    return _candidate(name, model, given if model.provider == chosen.provider else common_options(given))


def _candidate(name: str, model: Model, given: dict[str, Any]) -> Candidate:
    key = model.key(os.environ)
    if key is None:
        raise Provider(model.title).no_key(model.key_variable)
    try:
        provider_dialect = dialect(model.provider)
    except ImportError:
        raise Provider(model.title).no_sdk(model.extra) from None
    return Candidate(name, model, key, provider_dialect, parse_options(provider_dialect.options, given))


class FallbackChain:
    """Requests turns from a job's models, from each until it fails permanently. The next one repeats the failed turn.

    The conversation is stored in a format that works for all models."""

    def __init__(
        self,
        run: Run,
        emitter: AnswerEmitter,
        stack: AsyncExitStack,
        candidates: list[Candidate | None],
        messages: list[Message],
        tools: dict[str, Tool],
    ) -> None:
        first, *self._waiting = candidates
        assert first is not None
        self._now = first
        self._streamed = True
        self._conversation: Conversation | None = None
        self._run = run
        self._emitter = emitter
        self._stack = stack
        self._before = messages
        self._messages: list[Message] = []
        self._tools = tools
        self._left_out = 0

    async def turn(self) -> Turn:
        """Request the next turn. Raises ProviderFailure when no model is left."""
        while True:
            try:
                turn = await with_retries(self._run, self._emitter, self._request_turn, self._now.options.retries)
            except ProviderFailure as failure:
                await self._emitter.break_off(f"the answer broke off: {failure.message}")
                await self._hand_over(failure)
            else:
                self._messages.append(_message(turn))
                return turn

    def add(self, answers: list[Answer]) -> None:
        """Add the results of the last turn's calls."""
        assert self._conversation is not None
        self._conversation.add(answers)
        self._messages += [Message(role="tool", call_id=answer.call_id, content=answer.content) for answer in answers]

    async def _request_turn(self) -> Turn:
        if self._conversation is None:
            now = self._now
            client = await self._stack.enter_async_context(now.dialect.client(now.model, now.key, now.options))
            given = (client, now.model, now.options, self._tools)
            self._conversation = now.dialect.conversation(self._run, self._emitter, *given)
        await self._run.check_budget()
        with measured(self._now.model.provider, self._now.model.model):
            return await self._conversation.turn(await self._fitting(), streamed=self._streamed)

    async def _fitting(self) -> list[Message]:
        """Return the messages before this conversation that fit. The conversation itself belongs to the last turn,
        which is never cut."""
        options = self._now.options
        everything = self._before + self._messages
        fit = fitting(everything, options.context_tokens - tokens(options.system or ""))
        left_out = len(everything) - len(fit)
        if left_out > self._left_out:
            self._left_out = left_out
            await self._run.status(
                f"The conversation is too long for the model: its oldest {left_out} messages are left out"
            )
        return fit[: len(fit) - len(self._messages)]

    async def _hand_over(self, failure: ProviderFailure) -> None:
        """Switch to the next model for the rest of the job. Raises the failure when there is none.

        The fallback without streaming is used for retryable failures only."""
        while self._waiting:
            following = self._waiting.pop(0)
            if following is not None:
                self._now, self._streamed, self._conversation = following, True, None
                self._before, self._messages = self._before + self._messages, []
                return await self._run.fallback(failure.message, following.name)
            if failure.retryable:
                self._streamed = False
                return await self._run.fallback(failure.message, NON_STREAMED)
        raise failure


def _message(turn: Turn) -> Message:
    calls = [ToolUse(call_id=call.call_id, name=call.name, arguments=call.arguments or {}) for call in turn.calls]
    return Message(role="assistant", content=turn.text, tool_calls=calls)
