"""The chat agents, for models of all providers: alternate turns of the model and its tool calls."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

import structlog
from holdfast.worker.agents.dialect import STOP, chosen_tools, dialect
from holdfast.worker.agents.emitter import AnswerEmitter
from holdfast.worker.agents.fallback_chain import FallbackChain, candidates_of
from holdfast.worker.agents.messages import conversation
from holdfast.worker.agents.models import WITHOUT_KEY, WITHOUT_SDK, Model
from holdfast.worker.agents.tool_calls import run_side_by_side
from holdfast.worker.sdk.registry import CHAT_INPUT, Agent, AgentFunction
from holdfast.worker.sdk.run import Run
from holdfast.worker.sdk.tools import Tool

# A result must fit into the terminal event, however many bytes its characters take there.
MAX_RESULT_CHARS = 32_000
MAX_STEPS = "max_steps"

log = structlog.get_logger()


def chat_agents(models: Mapping[str, Model]) -> Iterator[Agent]:
    """Return an agent for each model whose key is set and whose provider's SDK is installed."""
    without_key = [model for model in models.values() if model.key(os.environ) is None]
    if without_key:
        unset = dict.fromkeys(model.key_variable for model in without_key)
        log.info(WITHOUT_KEY, agents=[model.name for model in without_key], unset=[*unset])
    for model in models.values():
        if model not in without_key and _has_sdk(model):
            yield Agent(model.name, chat_agent(model, models), CHAT_INPUT)


def _has_sdk(model: Model) -> bool:
    """Import the SDK of a model's provider, now, since an import during a job would delay all others."""
    try:
        dialect(model.provider)
    except ImportError as error:
        log.warning(WITHOUT_SDK, agent=model.name, install=model.extra, reason=str(error))
        return False
    return True


def chat_agent(own: Model, models: Mapping[str, Model]) -> AgentFunction:
    """Return the agent for a model. A job's options may name another model."""

    async def chat(run: Run) -> dict[str, Any]:
        candidates = candidates_of(run.options, own, models, run.models)
        first = candidates[0]
        assert first is not None
        tools, messages, emitter = chosen_tools(first.options), conversation(run), AnswerEmitter(run)
        async with AsyncExitStack() as stack:
            fallback_chain = FallbackChain(run, emitter, stack, candidates, messages, tools)
            return await converse(run, emitter, fallback_chain, tools, first.options.max_steps)

    return chat


async def converse(
    run: Run, emitter: AnswerEmitter, models: FallbackChain, tools: Mapping[str, Tool], max_steps: int
) -> dict[str, Any]:
    """Run turns of the model and its tools until it stops, at most `max_steps` turns. Returns the job's result."""
    steps = 0
    while True:
        turn = await models.turn()
        if turn.finish != STOP:
            await emitter.break_off(f"the model stopped before the call was complete ({turn.finish})")
            return result(turn.text, turn.finish)
        if not turn.calls:
            return result(turn.text, STOP)
        models.add(await run_side_by_side(run, turn.calls, tools))
        steps += 1
        if steps == max_steps:
            return result(turn.text, MAX_STEPS)


def result(text: str, finish: str) -> dict[str, Any]:
    """Return the text of the last turn, truncated if too long, and why the model stopped."""
    cut = {"truncated": True} if len(text) > MAX_RESULT_CHARS else {}
    return {"text": text[:MAX_RESULT_CHARS], "finish_reason": finish, **cut}
