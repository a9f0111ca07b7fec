"""Run a Pydantic AI Agent as an agent.

    helper = pydantic_ai.agent("helper", Agent("openai-chat:gpt-5", tools=[search]))

Streamed output, tool calls and their results become events. To emit the events of an agent that runs in a tool of
another one, under a name, use `await expert.run(task, event_stream_handler=pydantic_ai.nested("expert"))`.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Hashable, Sequence
from typing import Any

from holdfast.worker.adapters.adapter import ToInput, adapted, current_run
from holdfast.worker.adapters.approval import APPROVE, EDIT, REJECT, Stretch, decide, stretch, unsupported
from holdfast.worker.adapters.emitter import FrameworkEmitter, as_text, current
from holdfast.worker.adapters.rehearsal import warm
from holdfast.worker.agents.messages import Message, conversation
from holdfast.worker.process.threads import JobExecutor
from holdfast.worker.sdk.registry import AgentFunction, Input
from holdfast.worker.sdk.run import Run
from pydantic_ai import (
    AgentRunResult,
    AgentRunResultEvent,
    DeferredToolRequests,
    DeferredToolResults,
    RunContext,
    ToolApproved,
    ToolDenied,
    capture_run_messages,
)
from pydantic_ai.agent import AbstractAgent
from pydantic_ai.messages import (
    AgentStreamEvent,
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    PartDeltaEvent,
    PartStartEvent,
    RetryPromptPart,
    SystemPromptPart,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    ToolCallEvent,
    ToolCallPart,
    ToolCallPartDelta,
    ToolResultEvent,
    ToolReturnPart,
    UserPromptPart,
)

__all__ = ["agent", "current_run", "nested"]

Handler = Callable[[RunContext[Any], AsyncIterable[AgentStreamEvent]], Awaitable[None]]


def agent(
    name: str,
    target: AbstractAgent[Any, Any],
    *,
    input: Input | None = None,
    to_input: ToInput | None = None,
) -> AgentFunction:
    """Wrap an Agent as an agent of this name. The result is its output.

    `to_input` returns arguments for `run_stream_events`, by default the conversation as `message_history`. The `deps`
    of the tools are the Run, unless `to_input` returns others, so that they can emit events: `await
    ctx.deps.status("…")`.
    """

    async def run_target(run: Run, emitter: FrameworkEmitter) -> Any:
        given = to_input(run) if to_input else {"message_history": [*map(_message, conversation(run))]}
        arguments = {"deps": run, **given}
        translator = _Translator(emitter)

        async def until_pause() -> Stretch:
            counter = _Counter(emitter)
            with capture_run_messages() as messages:
                async with target.run_stream_events(**arguments) as events:
                    async for event in events:
                        if isinstance(event, AgentRunResultEvent):
                            await counter.add(event.result.new_messages())
                            return _stretch(event.result)
                        await counter.watch(event, messages)
                        await translator.take(event)
            return Stretch(None)

        with target.using_thread_executor(JobExecutor()):
            while (done := await stretch(emitter, until_pause)).paused is not None:
                arguments |= {
                    "user_prompt": None,
                    "message_history": ModelMessagesTypeAdapter.validate_python(done.paused["messages"]),
                    "deferred_tool_results": await _approvals(emitter, done.paused["approvals"]),
                }
        return done.output

    return adapted(name, run_target, input=input, warm=warm("genai_prices.decompose", "genai_prices.validation"))


def _stretch(result: AgentRunResult[Any]) -> Stretch:
    """Return what a run has done. Raises AgentError `approval_unsupported` where it waits for the results of tools that
    run elsewhere."""
    requests = result.output
    if not isinstance(requests, DeferredToolRequests):
        return Stretch(requests)
    if requests.calls:
        names = ", ".join(call.tool_name for call in requests.calls)
        raise unsupported(f"These tools are run outside of the agent, which is not supported: {names}")
    approvals = [[call.tool_call_id, call.tool_name, call.args] for call in requests.approvals]
    messages = ModelMessagesTypeAdapter.dump_python(result.all_messages(), mode="json")
    return Stretch(None, {"messages": messages, "approvals": approvals})


async def _approvals(emitter: FrameworkEmitter, calls: list[Any]) -> DeferredToolResults:
    """Ask a person about the calls that a run has paused for."""
    results = DeferredToolResults()
    for call_id, name, arguments in calls:
        decision = await decide(emitter.run, name, arguments, allowed=(APPROVE, EDIT, REJECT))
        if decision.kind == REJECT:
            message = decision.message or ToolDenied().message
            results.approvals[call_id] = ToolDenied(message)
            await emitter.failed(call_id, message, name)
        else:
            results.approvals[call_id] = ToolApproved(
                override_args=decision.arguments if decision.kind == EDIT else None
            )
    return results


def nested(name: str) -> Handler:
    """Return the `event_stream_handler` for an agent that a tool runs. Its events carry the name."""

    async def handler(context: RunContext[Any], events: AsyncIterable[AgentStreamEvent]) -> None:
        translator = _Translator(current().agent(name), (name, context.run_id, context.run_step))
        async for event in events:
            await translator.take(event)

    return handler


def _message(message: Message) -> ModelMessage:
    match message.role:
        case "assistant":
            text = [TextPart(message.content)] if message.content else []
            calls = [ToolCallPart(c.name, c.arguments, tool_call_id=c.call_id) for c in message.tool_calls]
            return ModelResponse(parts=[*text, *calls])
        case "tool":
            return ModelRequest(parts=[ToolReturnPart("", message.content, tool_call_id=message.call_id)])
        case "user":
            return ModelRequest(parts=[UserPromptPart(message.content)])
    return ModelRequest(parts=[SystemPromptPart(message.content)])


class _Translator:
    """Translates the stream of a run. A model response is a message; a new one starts where part indexes restart at
    0."""

    def __init__(self, emitter: FrameworkEmitter, one_run: Hashable = None) -> None:
        self._emitter = emitter
        self._one_run = one_run
        self._responses = 0

    @property
    def _message(self) -> Hashable:
        return self._one_run, self._responses

    async def take(self, event: AgentStreamEvent) -> None:
        match event:
            case PartStartEvent():
                self._responses += event.index == 0
                await self._part(event.index, event.part)
            case PartDeltaEvent():
                await self._delta(event.index, event.delta)
            case ToolCallEvent():
                await self._emitter.called(event.part.tool_call_id, event.part.tool_name, event.part.args)
            case ToolResultEvent():
                await self._result(event.part)

    async def _part(self, index: int, part: Any) -> None:
        match part:
            case TextPart():
                await self._emitter.text(self._message, part.content, index)
            case ThinkingPart():
                await self._emitter.reasoning(self._message, part.content, index)
            case ToolCallPart():
                await self._emitter.call(
                    self._message, index, _json(part.args), call_id=part.tool_call_id, name=part.tool_name
                )

    async def _delta(self, index: int, delta: Any) -> None:
        match delta:
            case TextPartDelta():
                await self._emitter.text(self._message, delta.content_delta, index)
            case ThinkingPartDelta():
                await self._emitter.reasoning(self._message, delta.content_delta or "", index)
            case ToolCallPartDelta():
                await self._emitter.call(self._message, index, _json(delta.args_delta))

    async def _result(self, part: ToolReturnPart | RetryPromptPart) -> None:
        if isinstance(part, RetryPromptPart) or part.outcome != "success":
            await self._emitter.failed(part.tool_call_id, part.content, part.tool_name or "tool")
        else:
            await self._emitter.result(part.tool_call_id, part.content, part.tool_name)


def _json(arguments: Any) -> str:
    return as_text(arguments) if arguments else ""


class _Counter:
    """Emits the usage of each model response once: with its first tool call, so that a budget that it exceeds ends the
    job then, and not with the run."""

    def __init__(self, emitter: FrameworkEmitter) -> None:
        self._emitter = emitter
        self._counted: list[ModelMessage] = []
        self._responded = False

    async def watch(self, event: AgentStreamEvent, messages: Sequence[ModelMessage]) -> None:
        """Count the newest of a run's messages at the first call of a tool. Calls that a person has approved come
        before any response of this run."""
        self._responded |= isinstance(event, PartStartEvent)
        if self._responded and isinstance(event, ToolCallEvent):
            await self.add(messages[-1:])

    async def add(self, messages: Sequence[ModelMessage]) -> None:
        for message in messages:
            if isinstance(message, ModelResponse) and not any(message is counted for counted in self._counted):
                self._counted.append(message)
                await self._emitter.usage(message.usage.input_tokens, message.usage.output_tokens, message.model_name)
