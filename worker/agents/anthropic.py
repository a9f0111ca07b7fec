"""The `anthropic` agent: a chat with tools over the Messages API.

It reads the raw events of `create(stream=True)`: `messages.stream()` adds derived ones, which say each token twice.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any, Literal

import httpx2
from anthropic import (
    AnthropicError,
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AsyncAnthropic,
    AsyncStream,
    CredentialsError,
    DefaultAsyncHttpxClient,
)
from anthropic.resources.messages import AsyncMessages  # noqa: F401  # else the SDK imports it amid the first job
from anthropic.types import MessageDeltaUsage, RawContentBlockDelta, RawMessageStreamEvent, Usage
from pydantic import Field

from worker.agents.chat import LENGTH, REFUSAL, STOP, Turn, chat
from worker.agents.connection import timeouts, tls
from worker.agents.messages import Message, conversation
from worker.agents.options import ChatOptions, chosen_tools, parse_options
from worker.agents.provider_errors import Provider
from worker.agents.tool_calls import Answer, ToolCalls
from worker.agents.voice import Voice
from worker.registry import agent
from worker.run import Run
from worker.tools import Tool

_FINISH = {
    "end_turn": STOP,
    "stop_sequence": STOP,
    "tool_use": STOP,
    "max_tokens": LENGTH,
    "model_context_window_exceeded": LENGTH,
    "refusal": REFUSAL,
}
_SYSTEM = ("system", "developer")
_NOT_IN_A_CALL_ID = re.compile(r"[^A-Za-z0-9_-]")

Json = dict[str, Any]


class AnthropicOptions(ChatOptions):
    """The options of the `anthropic` agent. `thinking` is a budget in tokens, or left to the model."""

    model: str = Field("claude-sonnet-5", min_length=1, max_length=200)
    max_tokens: int = Field(8192, ge=1)
    temperature: float | None = Field(None, ge=0, le=1)
    thinking: Annotated[int, Field(ge=1024)] | Literal["adaptive", "disabled"] | None = None


@agent("anthropic")
async def anthropic_agent(run: Run) -> Json:
    """Chat with a model of Anthropic."""
    options = parse_options(AnthropicOptions, run.options)
    tools, messages = chosen_tools(options), conversation(run)
    async with _client(options) as client:
        return await chat(run, _Messages(run, client, options, tools, messages), tools, options.max_steps)


def _client(options: AnthropicOptions) -> AsyncAnthropic:
    """A client of the job's own, so that a cancelled job closes its connection. Raises AgentError without a key."""
    no_key = Provider("Anthropic").no_key("ANTHROPIC_API_KEY")
    try:
        http_client = DefaultAsyncHttpxClient(verify=tls())
        client = AsyncAnthropic(timeout=timeouts(options.idle_timeout_s), http_client=http_client)
    except AnthropicError:
        raise no_key from None
    if not (client.api_key or client.auth_token or client.credentials):
        raise no_key
    return client


class _Messages:
    """A chat over the Messages API; the request grows by what is said."""

    def __init__(
        self,
        run: Run,
        client: AsyncAnthropic,
        options: AnthropicOptions,
        tools: dict[str, Tool],
        messages: list[Message],
    ) -> None:
        self._run = run
        self._client = client
        self._options = options
        self._provider = Provider("Anthropic", [client.api_key, client.auth_token])
        self._voice = Voice(run)
        self._request = _request(options, tools, messages)
        self._messages: Any = _conversation(messages)

    async def turn(self) -> Turn:
        answer = _Answer(self._run, self._voice)
        async with aclosing(self._events()) as events:
            async for event in events:
                await self._take(answer, event)
        if not answer.ended:
            raise self._provider.cut()
        await self._run.usage(answer.input_tokens, answer.output_tokens, answer.model or self._options.model)
        self._messages.append(answer.message())
        return Turn(answer.text, answer.calls.calls, answer.finish)

    def add(self, answers: list[Answer]) -> None:
        results = [_tool_result(answer.call_id, answer.content, failed=answer.failed) for answer in answers]
        self._messages.append({"role": "user", "content": results})

    async def _take(self, answer: _Answer, event: RawMessageStreamEvent) -> None:
        try:
            await answer.add(event)
        except (AttributeError, TypeError, LookupError) as error:  # the SDK checks no shapes
            raise self._provider.garbled() from error

    async def _events(self) -> AsyncGenerator[RawMessageStreamEvent, None]:
        """The events of one answer. Raises AgentError for whatever goes wrong with the provider."""
        stream: AsyncStream[RawMessageStreamEvent] | None = None
        try:
            stream = await self._client.messages.create(messages=self._messages, stream=True, **self._request)
            async with stream:
                async for event in stream:
                    yield event
        except (APITimeoutError, httpx2.TimeoutException):
            raise self._provider.silent(self._options.idle_timeout_s) from None
        except (APIConnectionError, httpx2.RequestError):  # the SDK lets httpx2's own errors out of a stream
            raise (self._provider.unreachable() if stream is None else self._provider.cut()) from None
        except APIStatusError as error:
            refused = stream is None
            raise (
                self._provider.refused(error.status_code, error.body)
                if refused
                else self._provider.broke_off(error.body)
            ) from None
        except CredentialsError:
            raise self._provider.no_key("ANTHROPIC_API_KEY") from None
        except (ValueError, RecursionError):
            raise self._provider.garbled() from None


class _Answer:
    """One answer, put together from its events and emitted as it grows."""

    def __init__(self, run: Run, voice: Voice) -> None:
        self._voice = voice
        self._blocks: dict[int, Json] = {}
        self.calls = ToolCalls(run)
        self.finish = STOP
        self.ended = False
        self.model = ""
        self.input_tokens = 0
        self.output_tokens = 0

    @property
    def text(self) -> str:
        return "".join(block["text"] for block in self._blocks.values() if block["type"] == "text")

    async def add(self, event: RawMessageStreamEvent) -> None:
        match event.type:
            case "message_start":
                self.model = event.message.model
                self._count(event.message.usage)
            case "content_block_start":
                await self._start(event.index, event.content_block.to_dict())
            case "content_block_delta":
                await self._grow(event.index, self._blocks[event.index], event.delta)
            case "message_delta":
                self.finish = _FINISH.get(event.delta.stop_reason or "", event.delta.stop_reason or STOP)
                self._count(event.usage)
            case "message_stop":
                self.ended = True

    async def _start(self, index: int, block: Json) -> None:
        self._voice.pause()
        self._blocks[index] = block
        if block["type"] == "tool_use":
            await self.calls.add(index, block["id"], block["name"], "")

    async def _grow(self, index: int, block: Json, delta: RawContentBlockDelta) -> None:
        match delta.type:
            case "text_delta":
                block["text"] += await self._voice.text(delta.text)
            case "thinking_delta":
                block["thinking"] += await self._voice.reasoning(delta.thinking)
            case "signature_delta":
                block["signature"] = delta.signature
            case "input_json_delta":
                await self.calls.add(index, "", "", delta.partial_json)

    def _count(self, usage: Usage | MessageDeltaUsage) -> None:
        """The counts of later events include those of earlier ones."""
        self.input_tokens = usage.input_tokens or self.input_tokens
        self.output_tokens = usage.output_tokens or self.output_tokens

    def message(self) -> Json:
        """The answer as it goes back in the next request of the tool loop: thinking with its signature, untouched."""
        arguments = {call.call_id: call.arguments or {} for call in self.calls.calls}
        said = [block for block in self._blocks.values() if block["type"] != "text" or block["text"]]
        return {"role": "assistant", "content": [_with_arguments(block, arguments) for block in said]}


def _with_arguments(block: Json, arguments: dict[str, Json]) -> Json:
    return _tool_use(block["id"], block["name"], arguments[block["id"]]) if block["type"] == "tool_use" else block


def _request(options: AnthropicOptions, tools: dict[str, Tool], messages: list[Message]) -> Json:
    """What every request of the job has, messages aside."""
    system = [options.system or "", *(message.content for message in messages if message.role in _SYSTEM)]
    wanted = {
        "system": "\n\n".join(filter(None, system)) or None,
        "extra_body": _sampling(options.temperature),
        "thinking": _thinking(options.thinking),
        "tools": [_described(tool) for tool in tools.values()] or None,
    }
    asked = {name: value for name, value in wanted.items() if value is not None}
    return {"model": options.model, "max_tokens": options.max_tokens, **asked}


def _sampling(temperature: float | None) -> Json | None:
    """The SDK has no argument for it any more, since newer models take none; older ones still do."""
    return None if temperature is None else {"temperature": temperature}


def _thinking(wanted: int | str | None) -> Json | None:
    match wanted:
        case int():
            return {"type": "enabled", "budget_tokens": wanted}
        case "adaptive":
            return {"type": "adaptive", "display": "summarized"}
        case str():
            return {"type": wanted}
    return None


def _described(tool: Tool) -> Json:
    return {"name": tool.name, "description": tool.description, "input_schema": tool.schema}


def _conversation(messages: list[Message]) -> list[Json]:
    """What was said, with the neighbours of one role in one message: so all results of a turn stand together."""
    said: list[Json] = []
    for message in messages:
        if message.role in _SYSTEM:
            continue
        role, blocks = _blocks(message)
        if not said or said[-1]["role"] != role:
            said.append({"role": role, "content": []})
        said[-1]["content"] += blocks
    return said


def _blocks(message: Message) -> tuple[str, list[Json]]:
    """The role and the content of a message in Anthropic's words."""
    if message.role == "tool":
        return "user", [_tool_result(message.call_id, message.content)]
    text = [{"type": "text", "text": message.content}] if message.content else []
    return message.role, text + [_tool_use(call.call_id, call.name, call.arguments) for call in message.tool_calls]


def _tool_use(call_id: str, name: str, arguments: Json) -> Json:
    return {"type": "tool_use", "id": _allowed(call_id), "name": name, "input": arguments}


def _tool_result(call_id: str, content: str, *, failed: bool = False) -> Json:
    result = {"type": "tool_result", "tool_use_id": _allowed(call_id), "content": content}
    return result | {"is_error": True} if failed else result


def _allowed(call_id: str) -> str:
    """The id without what Anthropic refuses: a call of an earlier job may be another provider's."""
    return _NOT_IN_A_CALL_ID.sub("_", call_id)
