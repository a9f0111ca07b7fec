"""Run an Agent of the OpenAI Agents SDK as an agent.

    helper = openai_agents.agent("helper", Agent(name="Helper", tools=[search], handoffs=[expert]))

Streamed output, tool calls, their results and handoffs become events. After a handoff events carry the new agent's
name. To emit the events of an agent that is a tool of another one, under its name, use `expert.as_tool("expert", "…",
on_stream=openai_agents.nested)`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any

from agents import (
    Agent,
    AgentToolStreamEvent,
    InputGuardrailTripwireTriggered,
    OutputGuardrailTripwireTriggered,
    RunConfig,
    RunContextWrapper,
    Runner,
    RunResultStreaming,
    RunState,
    StreamEvent,
    ToolInputGuardrailTripwireTriggered,
    ToolOutputGuardrailTripwireTriggered,
    set_tracing_disabled,
)
from agents.items import HandoffOutputItem, RunItem, ToolApprovalItem, ToolCallOutputItem
from holdfast.worker.adapters.adapter import ToInput, adapted, current_run
from holdfast.worker.adapters.approval import APPROVE, Stretch, decide, stretch
from holdfast.worker.adapters.emitter import FrameworkEmitter, as_text, current
from holdfast.worker.adapters.rehearsal import warm
from holdfast.worker.agents.messages import Message, conversation
from holdfast.worker.process.settings import NO_TRACING
from holdfast.worker.sdk.registry import AgentFunction, Input
from holdfast.worker.sdk.run import AgentError, Run

__all__ = ["agent", "current_run", "nested"]

# The SDK sends traces of every run to OpenAI unless disabled; it may have been imported before `quieten` ran.
set_tracing_disabled(os.environ[NO_TRACING].lower() in {"1", "true"})

MAX_TURNS = 10
# The SDK's message for a failed tool: its only indication of the failure.
_FAILED = "An error occurred while running the tool."

_TRIPWIRES = (
    InputGuardrailTripwireTriggered,
    OutputGuardrailTripwireTriggered,
    ToolInputGuardrailTripwireTriggered,
    ToolOutputGuardrailTripwireTriggered,
)

Json = dict[str, Any]


def agent(
    name: str,
    first: Agent[Any],
    *,
    input: Input | None = None,
    to_input: ToInput | None = None,
    to_context: Callable[[Run], Any] | None = None,
    run_config: RunConfig | None = None,
    max_turns: int = MAX_TURNS,
) -> AgentFunction:
    """Wrap an Agent as an agent of this name. The result is the final output.

    The `context` of its tools is the Run, unless `to_context` returns another one, so that they can emit events:
    `await context.context.status("…")`."""

    async def run_target(run: Run, emitter: FrameworkEmitter) -> Any:
        given: Any = to_input(run) if to_input else [item for said in conversation(run) for item in _items(said)]
        context = to_context(run) if to_context else run
        translator = _Translator(emitter, None, first)

        async def until_pause() -> Stretch:
            result = Runner.run_streamed(first, given, context=context, run_config=run_config, max_turns=max_turns)
            try:
                async for event in result.stream_events():
                    await translator.take(event)
            except _TRIPWIRES as tripwire:
                raise await _stopped(emitter, tripwire) from None
            finally:
                await _stop(result)
            if not result.interruptions:
                return Stretch(result.final_output)
            return Stretch(None, result.to_state().to_json(context_serializer=lambda _: {}))

        while (done := await stretch(emitter, until_pause)).paused is not None:
            given = await RunState.from_json(first, done.paused, context_override=RunContextWrapper(context))
            await _approve(emitter, given)
        return done.output

    return adapted(name, run_target, input=input, warm=warm())


async def nested(event: AgentToolStreamEvent) -> None:
    """Emit the stream of an agent that is a tool, under its name. To be passed as `on_stream`."""
    emitter, inner, call = current(), event["agent"], event["tool_call"]
    one_run = (inner.name, call.call_id if call else "")
    if one_run not in emitter.memory:
        emitter.memory[one_run] = _Translator(emitter, one_run)
    translator: _Translator = emitter.memory[one_run]
    translator.uses_agent(inner)
    await translator.take(event["event"])


async def _stopped(emitter: FrameworkEmitter, tripwire: Any) -> AgentError:
    """Emit the output of a guardrail as `data`. Returns the error of the job that it stops."""
    stopped = getattr(tripwire, "guardrail_result", tripwire)
    name = stopped.guardrail.get_name()
    await emitter.data("guardrail", {"name": name, "output_info": stopped.output.output_info})
    return AgentError("guardrail", f"The guardrail {name} has stopped the agent")


async def _approve(emitter: FrameworkEmitter, state: RunState[Any]) -> None:
    """Ask a person about the calls that a run has paused for."""
    for item in state.get_interruptions():
        decision = await decide(emitter.run, item.name or "the tool", _arguments(item))
        if decision.kind == APPROVE:
            state.approve(item)
            continue
        state.reject(item, rejection_message=decision.message)
        await emitter.failed(item.call_id or "", decision.message or "rejected", item.name or "tool")


def _arguments(item: ToolApprovalItem) -> Any:
    """Return the arguments of a call: as JSON text, or of a hosted tool the whole item."""
    return item.arguments or item.raw_item


async def _stop(result: RunResultStreaming) -> None:
    """Cancel the run and wait for its cleanup."""
    if not result.is_complete:
        result.cancel()
        with suppress(Exception):
            async for _ in result.stream_events():
                pass


def _items(message: Message) -> list[Json]:
    if message.role == "tool":
        return [{"type": "function_call_output", "call_id": message.call_id, "output": message.content}]
    emitted = [{"role": message.role, "content": message.content}] if message.content else []
    return emitted + [
        {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": as_text(call.arguments)}
        for call in message.tool_calls
    ]


class _Translator:
    """Translates the stream of a run. Each model response is a message; a block's position in it is its index."""

    def __init__(self, emitter: FrameworkEmitter, one_run: Hashable, first: Agent[Any] | None = None) -> None:
        self._job = self._emitter = emitter
        self._one_run = one_run
        self._first = first
        self._responses = 0

    @property
    def _message(self) -> Hashable:
        return self._one_run, self._responses

    def uses_agent(self, target: Agent[Any]) -> None:
        self._emitter = self._job if target is self._first else self._job.agent(target.name)

    async def take(self, event: StreamEvent) -> None:
        match event.type:
            case "raw_response_event":
                await self._raw(event.data)
            case "agent_updated_stream_event":
                self.uses_agent(event.new_agent)
            case "run_item_stream_event":
                await self._item(event.item)

    async def _raw(self, event: Any) -> None:
        match event.type.split("."):
            case ["response", "created"]:
                self._responses += 1
            case ["response", "output_text" | "refusal", "delta"]:
                await self._emitter.text(self._message, event.delta, (event.output_index, event.content_index))
            case ["response", "reasoning_summary_text", "delta"]:
                await self._emitter.reasoning(self._message, event.delta, (event.output_index, event.summary_index))
            case ["response", "reasoning_text", "delta"]:
                await self._emitter.reasoning(self._message, event.delta, (event.output_index, event.content_index))
            case ["response", "function_call_arguments", "delta"]:
                await self._call(event.output_index, event.delta)
            case ["response", "output_item", step] if event.item.type == "function_call":
                await self._call_item(step, event)
            case ["response", "completed"]:
                await self._response(event.response)

    async def _call_item(self, step: str, event: Any) -> None:
        """Handle a call that was added to the response or completed."""
        if step == "added":
            await self._call(event.output_index, call_id=event.item.call_id, name=event.item.name)
        else:
            await self._emitter.called(event.item.call_id, event.item.name, event.item.arguments)

    async def _call(self, index: int, piece: str = "", *, call_id: str = "", name: str = "") -> None:
        await self._emitter.call(self._message, index, piece, call_id=call_id, name=name)

    async def _response(self, response: Any) -> None:
        """Emit what the model returned without streaming, and its usage."""
        blocks = [block for item in response.output if item.type == "message" for block in item.content]
        await self._emitter.whole_text(self._message, "".join(getattr(block, "text", "") for block in blocks))
        if used := response.usage:
            await self._emitter.usage(used.input_tokens, used.output_tokens, response.model)

    async def _item(self, item: RunItem) -> None:
        if isinstance(item, ToolCallOutputItem):
            failed = isinstance(item.output, str) and item.output.startswith(_FAILED)
            emit = self._emitter.failed if failed else self._emitter.result
            await emit(item.call_id or "", item.output)
        elif isinstance(item, HandoffOutputItem):
            raw: Any = item.raw_item
            await self._emitter.result(raw["call_id"], raw["output"])
