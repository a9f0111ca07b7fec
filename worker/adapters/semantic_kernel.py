"""Run a Semantic Kernel kernel with a chat service, or a ChatCompletionAgent, as an agent.

    helper = semantic_kernel.agent("helper", ChatCompletionAgent(service=OpenAIChatCompletion(), plugins=[Search()]))

The chat service is called directly with the agent's instructions and settings, because
`ChatCompletionAgent.invoke_stream` does not expose the arguments of function calls.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from holdfast.worker.adapters.adapter import ToInput, adapted, current_run
from holdfast.worker.adapters.emitter import FrameworkEmitter, as_text, current
from holdfast.worker.adapters.rehearsal import warm
from holdfast.worker.agents.messages import Message, conversation
from holdfast.worker.sdk.registry import AgentFunction, Input
from holdfast.worker.sdk.run import Run
from semantic_kernel import Kernel
from semantic_kernel.agents import ChatCompletionAgent
from semantic_kernel.connectors.ai.chat_completion_client_base import ChatCompletionClientBase
from semantic_kernel.connectors.ai.function_choice_behavior import FunctionChoiceBehavior
from semantic_kernel.contents import (
    ChatHistory,
    ChatMessageContent,
    FunctionCallContent,
    FunctionResultContent,
    StreamingChatMessageContent,
    StreamingTextContent,
    TextContent,
)
from semantic_kernel.contents.streaming_reasoning_content import StreamingReasoningContent
from semantic_kernel.contents.utils.author_role import AuthorRole
from semantic_kernel.functions import KernelArguments

__all__ = ["agent", "current_run", "nested"]

# The kernel's message for a failed function: its only indication of the failure.
_FAILED = "An error occurred while invoking the function "

# Modules that the kernel would import during the first job.
_LAZY_MODULES = (
    "semantic_kernel.template_engine.protocols.code_renderer",
    "semantic_kernel.template_engine.protocols.text_renderer",
)

_ROLES = {
    "system": AuthorRole.SYSTEM,
    "developer": AuthorRole.DEVELOPER,
    "user": AuthorRole.USER,
    "assistant": AuthorRole.ASSISTANT,
    "tool": AuthorRole.TOOL,
}


def agent(
    name: str, target: Kernel | ChatCompletionAgent, *, input: Input | None = None, to_input: ToInput | None = None
) -> AgentFunction:
    """Wrap a kernel or a ChatCompletionAgent as an agent of this name. The result is the text of the last answer.

    `to_input` returns a ChatHistory, by default that of the session."""

    async def run_target(run: Run, emitter: FrameworkEmitter) -> Any:
        history = to_input(run) if to_input else _given(run)
        return await _emit(emitter, target, history)

    return adapted(name, run_target, input=input, warm=warm(*_LAZY_MODULES))


async def nested(target: Kernel | ChatCompletionAgent, text: str, name: str | None = None) -> str:
    """Run another agent from within a function. Its events carry its name. Returns its answer."""
    if name is None and isinstance(target, ChatCompletionAgent):
        name = target.name
    history = ChatHistory()
    history.add_user_message(text)
    return await _emit(current().agent(name), target, history)


async def _emit(emitter: FrameworkEmitter, target: Kernel | ChatCompletionAgent, history: ChatHistory) -> str:
    """Run the chat and emit its stream. Returns the text of the last answer."""
    translator = _Translator(emitter)
    async with aclosing(await _answers(target, history)) as answers:
        async for messages in answers:
            for message in messages:
                await translator.take(message)
    return translator.text


async def _answers(
    target: Kernel | ChatCompletionAgent, history: ChatHistory
) -> AsyncGenerator[list[StreamingChatMessageContent], Any]:
    if isinstance(target, Kernel):
        return _ask(target, KernelArguments(), FunctionChoiceBehavior.Auto(), history)
    arguments = target.arguments or KernelArguments()
    if instructions := await target.format_instructions(target.kernel, arguments):
        history = ChatHistory(messages=list(history.messages), system_message=instructions)
    return _ask(target.kernel, arguments, target.function_choice_behavior, history)


def _ask(
    kernel: Kernel, arguments: KernelArguments, behavior: FunctionChoiceBehavior | None, history: ChatHistory
) -> AsyncGenerator[list[StreamingChatMessageContent], Any]:
    service, settings = kernel.select_ai_service(arguments=arguments, type=ChatCompletionClientBase)
    assert isinstance(service, ChatCompletionClientBase)
    if settings.function_choice_behavior is None:
        settings.function_choice_behavior = behavior
    return service.get_streaming_chat_message_contents(history, settings, kernel=kernel, arguments=arguments)


def _given(run: Run) -> ChatHistory:
    return ChatHistory(messages=[content for message in conversation(run) for content in _contents(message)])


def _contents(message: Message) -> list[ChatMessageContent]:
    """Convert a message. Text and calls become separate messages: of one with both, connectors send only the calls."""
    items: list[list[Any]] = [
        [TextContent(text=message.content)] if message.content else [],
        [FunctionCallContent(id=c.call_id, name=c.name, arguments=as_text(c.arguments)) for c in message.tool_calls],
    ]
    if message.role == "tool":
        items = [[FunctionResultContent(id=message.call_id, result=message.content, function_name="")]]
    return [ChatMessageContent(role=_ROLES[message.role], items=some) for some in items if some]


class _Translator:
    """Translates the stream of a chat service, round by round. A round is one model answer, one message of the emitter.

    `text`: that of the last round."""

    def __init__(self, emitter: FrameworkEmitter) -> None:
        self._emitter = emitter
        self._round: tuple[FrameworkEmitter, int | None] = emitter, -1
        self.text = ""

    async def take(self, message: StreamingChatMessageContent) -> None:
        number = message.function_invoke_attempt
        if message.role == AuthorRole.TOOL:
            await self._emitter.ended(self._round)
        elif number != self._round[1]:
            self._round, self.text = (self._emitter, number), ""
        for item in message.items:
            await self._item(item)
        used = message.metadata.get("usage")
        if used is not None and message.choice_index == 0:
            await self._emitter.usage(used.prompt_tokens, used.completion_tokens, message.ai_model_id)

    async def _item(self, item: Any) -> None:
        match item:
            case StreamingReasoningContent():
                await self._emitter.reasoning(self._round, item.text or "")
            case StreamingTextContent():
                self.text += item.text or ""
                await self._emitter.text(self._round, item.text or "")
            case FunctionCallContent():
                await self._call(item)
            case FunctionResultContent():
                await self._result(item)

    async def _call(self, call: FunctionCallContent) -> None:
        arguments = as_text(call.arguments) if call.arguments else ""
        index, call_id, name = call.index or 0, call.id or "", call.name or ""
        await self._emitter.call(self._round, index, arguments, call_id=call_id, name=name)

    async def _result(self, item: FunctionResultContent) -> None:
        text = str(item.result)
        emit = self._emitter.failed if text.startswith(_FAILED) else self._emitter.result
        await emit(item.id or "", text, item.name or "tool")
