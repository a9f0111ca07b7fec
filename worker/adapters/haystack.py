"""Run a Haystack Agent or Pipeline as an agent.

    helper = haystack.agent("helper", Agent(chat_generator=OpenAIChatGenerator(), tools=[search]))

Streamed text, tool calls and their results become events. To emit the events of an Agent that is a tool of another one,
under a name, pass `Agent(..., streaming_callback=haystack.nested("researcher"))`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from contextlib import aclosing
from typing import Any

from haystack import Pipeline
from haystack.components.agents import Agent
from haystack.dataclasses import ChatMessage, StreamingChunk, ToolCall, ToolCallDelta, ToolCallResult
from holdfast.worker.adapters.adapter import ToInput, adapted, current_run
from holdfast.worker.adapters.emitter import FrameworkEmitter, current
from holdfast.worker.adapters.rehearsal import warm
from holdfast.worker.agents.messages import Message, conversation
from holdfast.worker.sdk.registry import AgentFunction, Input
from holdfast.worker.sdk.run import Run

__all__ = ["agent", "current_run", "nested"]

Json = dict[str, Any]


def agent(
    name: str, target: Agent | Pipeline, *, input: Input | None = None, to_input: ToInput | None = None
) -> AgentFunction:
    """Wrap a Haystack Agent or Pipeline as an agent of this name.

    Without `to_input` an Agent gets the conversation as its messages. So does every component of a Pipeline that needs
    `messages`; other unconnected inputs get the text of the last message. The result is the text of the last reply, or
    the Pipeline's output where there is none.
    """

    async def run_target(run: Run, emitter: FrameworkEmitter) -> Any:
        if isinstance(target, Agent):
            return await _run_agent(target, to_input(run) if to_input else {"messages": _given(run)}, emitter)
        return await _run_pipeline(target, to_input(run) if to_input else _inputs(target, _given(run)), emitter)

    return adapted(name, run_target, input=input, warm=warm())


def nested(name: str) -> Callable[[StreamingChunk], Awaitable[None]]:
    """Return the `streaming_callback` for an Agent or a generator within a tool. Its events carry the name."""

    async def callback(chunk: StreamingChunk) -> None:
        emitter, one_run = current(), (name, asyncio.current_task())
        translator = emitter.memory.setdefault(one_run, _Translator(emitter.agent(name), one_run))
        await translator.take(chunk)

    return callback


async def _run_agent(target: Agent, given: Json, emitter: FrameworkEmitter) -> Any:
    translator = _Translator(emitter)

    async def callback(chunk: StreamingChunk) -> None:
        await translator.take(chunk)

    output = await target.run_async(**given, streaming_callback=callback)
    return await translator.finished(output.get("messages", []), output)


async def _run_pipeline(target: Pipeline, given: Json, emitter: FrameworkEmitter) -> Any:
    translators: dict[str | None, _Translator] = {}
    stream = target.stream(given)
    async with aclosing(aiter(stream)) as chunks:  # type: ignore[type-var]  # it is an async generator
        async for chunk in chunks:
            component = chunk.component_info.name if chunk.component_info else None
            await translators.setdefault(component, _Translator(emitter, component)).take(chunk)
    output = stream.result
    replies = [reply for outputs in output.values() for reply in outputs.get("replies", outputs.get("messages", []))]
    translator = next(reversed(translators.values()), _Translator(emitter))
    return await translator.finished([reply for reply in replies if isinstance(reply, ChatMessage)], output)


def _given(run: Run) -> list[ChatMessage]:
    return [_message(message) for message in conversation(run)]


def _message(message: Message) -> ChatMessage:
    match message.role:
        case "assistant":
            calls = [ToolCall(call.name, call.arguments, id=call.call_id) for call in message.tool_calls]
            return ChatMessage.from_assistant(message.content or None, tool_calls=calls)
        case "tool":
            origin = ToolCall("", {}, id=message.call_id)
            return ChatMessage.from_tool(message.content, origin=origin)
        case "user":
            return ChatMessage.from_user(message.content)
    return ChatMessage.from_system(message.content)


def _inputs(pipeline: Pipeline, messages: list[ChatMessage]) -> Json:
    """Return the inputs that components need and that none of them provides."""
    text = messages[-1].text
    return {
        component: {
            name: messages if name == "messages" else text for name, socket in sockets.items() if socket["is_mandatory"]
        }
        for component, sockets in pipeline.inputs().items()
    }


class _Translator:
    """Translates the stream of one component: consecutive messages, each ended by its finish reason."""

    def __init__(self, emitter: FrameworkEmitter, component: Hashable = None) -> None:
        self._emitter = emitter
        self._component = component
        self._number = 0
        self._ended = False

    @property
    def _message(self) -> Hashable:
        return self._component, self._number

    async def take(self, chunk: StreamingChunk) -> None:
        if chunk.tool_call_result is not None:
            await self._result(chunk.tool_call_result)
            return
        if self._ended and (chunk.content or chunk.reasoning or chunk.tool_calls):
            self._number, self._ended = self._number + 1, False
        await self._emitter.text(self._message, chunk.content)
        if chunk.reasoning:
            await self._emitter.reasoning(self._message, chunk.reasoning.reasoning_text)
        for piece in chunk.tool_calls or []:
            await self._call(piece)
        await self._usage(chunk.meta)
        if chunk.finish_reason:
            self._ended = True
            await self._emitter.ended(self._message)

    async def finished(self, messages: list[ChatMessage], output: Json) -> Any:
        """Emit the last reply unless it was streamed. Returns its text, or the output where there is none."""
        if not messages or messages[-1].text is None:
            return output
        if not self._number and not self._ended:
            await self._emitter.whole_text(self._message, messages[-1].text)
        return messages[-1].text

    async def _call(self, piece: ToolCallDelta) -> None:
        call_id, name = piece.id or "", piece.tool_name or ""
        await self._emitter.call(self._message, piece.index, piece.arguments or "", call_id=call_id, name=name)

    async def _result(self, result: ToolCallResult) -> None:
        origin = result.origin
        await self._emitter.called(origin.id or "", origin.tool_name, origin.arguments)
        emit = self._emitter.failed if result.error else self._emitter.result
        await emit(origin.id or "", result.result, origin.tool_name)

    async def _usage(self, meta: Json) -> None:
        """Emit the usage in a chunk, with the field names of OpenAI or of Anthropic."""
        if used := meta.get("usage"):
            taken = used.get("prompt_tokens") or used.get("input_tokens")
            given = used.get("completion_tokens") or used.get("output_tokens")
            await self._emitter.usage(taken, given, meta.get("model"))
