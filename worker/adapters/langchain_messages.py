"""Convert between the messages of a session and those of LangChain, which LangGraph uses too."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

from holdfast.worker.adapters.emitter import FrameworkEmitter
from holdfast.worker.agents.messages import Message, answered, conversation, input_messages
from holdfast.worker.sdk.run import Run
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

# Modules that LangChain would import during the first job.
LAZY_MODULES = (
    "langchain_core.messages.block_translators.langchain_v0",
    "langchain_core.tracers.context",
    "langchain_core.tracers.run_collector",
    "langchain_core.tracers.stdout",
)

# Marks the job's input messages, so that they are not emitted when a graph passes them on.
GIVEN = "given-"


def given_messages(run: Run) -> list[BaseMessage]:
    """Return the session's history and the job's input as LangChain messages."""
    return _numbered(run, conversation(run))


def new_messages(run: Run) -> list[BaseMessage]:
    """Return the job's input as LangChain messages, for a graph that keeps the earlier ones itself."""
    return _numbered(run, answered(input_messages(run.input)))


def _numbered(run: Run, messages: list[Message]) -> list[BaseMessage]:
    """Convert messages. Their ids are unique in the session, so that none replaces one of an earlier job."""
    return [_message(message, f"{GIVEN}{run.job_id}-{number}") for number, message in enumerate(messages)]


def _message(message: Message, id: str) -> BaseMessage:
    match message.role:
        case "assistant":
            calls = [{"id": c.call_id, "name": c.name, "args": c.arguments} for c in message.tool_calls]
            return AIMessage(message.content, tool_calls=calls, id=id)
        case "tool":
            return ToolMessage(message.content, tool_call_id=message.call_id, id=id)
        case "user":
            return HumanMessage(message.content, id=id)
    return SystemMessage(message.content, id=id)


def is_given(message: BaseMessage) -> bool:
    return (message.id or "").startswith(GIVEN)


def text_of(output: Any) -> Any:
    """Return the text of a message, or of the last message of a state; any other output unchanged."""
    if isinstance(output, dict) and isinstance(messages := output.get("messages"), list) and messages:
        output = messages[-1]
    return str(output.text) if isinstance(output, BaseMessage) else output


async def emit_chunk(emitter: FrameworkEmitter, key: Hashable, chunk: AIMessageChunk) -> None:
    """Emit the next piece of the message with this key."""
    for block in chunk.content_blocks:
        index = block.get("index", 0)
        match block["type"]:
            case "text":
                await emitter.text(key, block["text"], index)
            case "reasoning":
                await emitter.reasoning(key, block.get("reasoning", ""), index)
            case "tool_call_chunk":
                await _emit_call(emitter, key, index, block)
    if chunk.chunk_position == "last":
        await emitter.ended(key)


async def _emit_call(emitter: FrameworkEmitter, key: Hashable, index: Hashable, piece: Any) -> None:
    call_id, name = piece.get("id") or "", piece.get("name") or ""
    await emitter.call(key, index, piece.get("args") or "", call_id=call_id, name=name)


async def emit_message(emitter: FrameworkEmitter, key: Hashable, message: BaseMessage) -> None:
    """Emit the parts of a whole message that were not streamed."""
    if isinstance(message, AIMessage):
        await emitter.whole_reasoning(key, _joined(message, "reasoning"))
        await emitter.whole_text(key, _joined(message, "text"))
    await emit_calls(emitter, [message])


async def emit_calls(emitter: FrameworkEmitter, messages: Iterable[Any]) -> None:
    """Emit the complete tool calls and tool results among the messages."""
    for message in messages:
        if isinstance(message, ToolMessage):
            await _emit_result(emitter, message)
        elif isinstance(message, AIMessage):
            for call in message.tool_calls:
                await emitter.called(call["id"] or "", call["name"], call["args"])


async def _emit_result(emitter: FrameworkEmitter, message: ToolMessage) -> None:
    emit = emitter.failed if message.status == "error" else emitter.result
    content = message.content if isinstance(message.content, str) else message.text or message.content
    await emit(message.tool_call_id, content, message.name or "tool")


async def emit_usage(emitter: FrameworkEmitter, message: AIMessage, model: str) -> None:
    if used := message.usage_metadata:
        model = message.response_metadata.get("model_name") or model
        await emitter.usage(used["input_tokens"], used["output_tokens"], model)


def _joined(message: AIMessage, kind: str) -> str:
    return "".join(str(block.get(kind, "")) for block in message.content_blocks if block["type"] == kind)
