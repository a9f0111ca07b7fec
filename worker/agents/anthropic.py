"""Chat with models of Anthropic, with tools, over the Messages API.

Reads the raw events of `create(stream=True)`: `messages.stream()` adds derived events, which repeat each token.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import aclosing, contextmanager
from typing import Annotated, Any, Literal

from anthropic import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AsyncAnthropic,
    AsyncStream,
    DefaultAsyncHttpxClient,
    Timeout,
)
from anthropic.resources.messages import AsyncMessages  # noqa: F401  # otherwise imported during the first job
from anthropic.types import Message as WholeMessage
from anthropic.types import MessageDeltaUsage, RawContentBlockDelta, RawMessageStreamEvent, Usage
from holdfast.shared.log.events import encode
from holdfast.worker.agents.dialect import (
    LENGTH,
    REFUSAL,
    STOP,
    ChatOptions,
    Conversation,
    Dialect,
    Turn,
    http_library,
    timeouts,
    tls,
)
from holdfast.worker.agents.emitter import AnswerEmitter
from holdfast.worker.agents.messages import SYSTEM, Message
from holdfast.worker.agents.models import Model
from holdfast.worker.agents.provider_errors import ProviderFailure, asked_to_wait_s
from holdfast.worker.agents.tool_calls import Answer, ToolCalls
from holdfast.worker.sdk.tools import Tool
from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

_FINISH = {
    "end_turn": STOP,
    "stop_sequence": STOP,
    "tool_use": STOP,
    "max_tokens": LENGTH,
    "model_context_window_exceeded": LENGTH,
    "refusal": REFUSAL,
}
_NOT_IN_A_CALL_ID = re.compile(r"[^A-Za-z0-9_-]")

Json = dict[str, Any]
_HTTP = http_library(Timeout)


class AnthropicOptions(ChatOptions):
    """Options of Anthropic models. `thinking`: a budget in tokens, or by default up to the model."""

    max_tokens: int = Field(8192, ge=1)
    temperature: float | None = Field(None, ge=0, le=1)
    thinking: Annotated[int, Field(ge=1024)] | Literal["adaptive", "disabled"] | None = None

    @field_validator("response_format")
    @classmethod
    def _has_schema(cls, wanted: Json | None) -> Json | None:
        if wanted is not None and _schema_of(wanted) is None:
            allowed = "must be a json_schema with a schema: models of Anthropic have no other format"
            raise PydanticCustomError("response_format", allowed)
        return wanted


def _client(model: Model, key: str, options: AnthropicOptions) -> AsyncAnthropic:
    """Open a client for one job, so that a cancelled job closes its connection."""
    http_client = DefaultAsyncHttpxClient(verify=tls(_HTTP))
    timeout = timeouts(_HTTP, options.idle_timeout_s)
    return AsyncAnthropic(api_key=key, base_url=model.base_url, timeout=timeout, max_retries=0, http_client=http_client)


class _Messages(Conversation):
    """A chat over the Messages API."""

    _client: AsyncAnthropic
    _options: AnthropicOptions

    async def turn(self, before: list[Message], *, streamed: bool) -> Turn:
        self._emitter.begin()
        answer = _Answer(self._emitter)
        asked = _request(self._model, self._options, self._tools, before)
        asked["messages"] = [*_conversation(before), *self._messages]
        if streamed:
            await self._listen(answer, asked)
        else:
            await self._take(answer.add_whole(await self._whole(asked)))
        if not answer.ended:
            raise self._provider.cut()
        await self._run.usage(answer.input_tokens, answer.output_tokens, answer.model or self._model.model)
        self._messages.append(answer.message())
        return Turn(answer.text, answer.calls.calls, answer.finish)

    def add(self, answers: list[Answer]) -> None:
        results = [_tool_result(answer.call_id, answer.content, failed=answer.failed) for answer in answers]
        self._messages.append({"role": "user", "content": results})

    async def _listen(self, answer: _Answer, asked: Json) -> None:
        async with aclosing(self._events(asked)) as events:
            async for event in events:
                await self._take(answer.add(event))

    async def _take(self, adding: Coroutine[Any, Any, None]) -> None:
        try:
            await adding
        except (AttributeError, TypeError, LookupError) as error:  # the SDK does not validate types
            raise self._provider.garbled() from error

    async def _events(self, asked: Json) -> AsyncGenerator[RawMessageStreamEvent, None]:
        """Stream the events of one answer. Raises ProviderFailure for all errors of the provider."""
        with self._named(self._provider.unreachable):
            stream: AsyncStream[RawMessageStreamEvent] = await self._client.messages.create(stream=True, **asked)
        with self._named(self._provider.cut, begun=True):
            async with stream:
                async for event in stream:
                    yield event

    async def _whole(self, asked: Json) -> WholeMessage:
        """Request one answer without streaming."""
        with self._named(self._provider.unreachable):
            message: WholeMessage = await self._client.messages.create(stream=False, **asked)
            return message

    @contextmanager
    def _named(self, dropped: Callable[[], ProviderFailure], *, begun: bool = False) -> Iterator[None]:
        """Convert errors of the provider to ProviderFailure; a lost connection becomes `dropped`."""
        try:
            yield
        except (APITimeoutError, _HTTP.TimeoutException):
            raise self._provider.silent(self._options.idle_timeout_s) from None
        except (APIConnectionError, _HTTP.RequestError):  # the SDK does not convert those of a stream
            raise dropped() from None
        except APIStatusError as error:
            if begun:
                raise self._provider.broke_off(error.body) from None
            wait_s = asked_to_wait_s(error.response.headers)
            raise self._provider.refused(error.status_code, error.body, wait_s) from None
        except (ValueError, RecursionError):
            raise self._provider.garbled() from None


class _Answer:
    """One answer, assembled from its events and emitted incrementally."""

    def __init__(self, emitter: AnswerEmitter) -> None:
        self._emitter = emitter
        self._blocks: dict[int, Json] = {}
        self.calls = ToolCalls(emitter)
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
                self._finish(event.delta.stop_reason)
                self._count(event.usage)
            case "message_stop":
                self.ended = True

    async def add_whole(self, message: WholeMessage) -> None:
        """Add a non-streamed answer."""
        self.model = message.model
        self._count(message.usage)
        for index, block in enumerate(message.content):
            await self._add_block(index, block.to_dict())
        self._finish(message.stop_reason)
        self.ended = True

    async def _add_block(self, index: int, block: Json) -> None:
        """Add a whole block."""
        match block["type"]:
            case "text":
                await self._start(index, block | {"text": ""})
                self._blocks[index]["text"] = await self._emitter.text(block["text"])
            case "thinking":
                await self._start(index, block)
                await self._emitter.reasoning(block["thinking"])
            case "tool_use":
                await self._start(index, block)
                await self.calls.add(index, "", "", encode(block["input"]).decode())
            case _:
                await self._start(index, block)

    def _finish(self, reason: str | None) -> None:
        self.finish = _FINISH.get(reason or "", reason or STOP)

    async def _start(self, index: int, block: Json) -> None:
        self._emitter.pause()
        self._blocks[index] = block
        if block["type"] == "tool_use":
            await self.calls.add(index, block["id"], block["name"], "")

    async def _grow(self, index: int, block: Json, delta: RawContentBlockDelta) -> None:
        match delta.type:
            case "text_delta":
                block["text"] += await self._emitter.text(delta.text)
            case "thinking_delta":
                block["thinking"] += await self._emitter.reasoning(delta.thinking)
            case "signature_delta":
                block["signature"] = delta.signature
            case "input_json_delta":
                await self.calls.add(index, "", "", delta.partial_json)

    def _count(self, usage: Usage | MessageDeltaUsage) -> None:
        """Update the usage. Counts of later events include those of earlier ones."""
        self.input_tokens = usage.input_tokens or self.input_tokens
        self.output_tokens = usage.output_tokens or self.output_tokens

    def message(self) -> Json:
        """Return the answer for the next request of the tool loop, including unmodified thinking with its signature."""
        arguments = {call.call_id: call.arguments or {} for call in self.calls.calls}
        sent = [block for block in self._blocks.values() if block["type"] != "text" or block["text"]]
        return {"role": "assistant", "content": [_with_arguments(block, arguments) for block in sent]}


def _with_arguments(block: Json, arguments: dict[str, Json]) -> Json:
    return _tool_use(block["id"], block["name"], arguments[block["id"]]) if block["type"] == "tool_use" else block


def _request(model: Model, options: AnthropicOptions, tools: dict[str, Tool], before: list[Message]) -> Json:
    """Build a request without its messages."""
    system = [options.system or "", *(message.content for message in before if message.role in SYSTEM)]
    described = [{"name": t.name, "description": t.description, "input_schema": t.schema} for t in tools.values()]
    wanted = {
        "system": "\n\n".join(filter(None, system)) or None,
        # The SDK dropped the argument, since newer models accept none.
        "extra_body": None if options.temperature is None else {"temperature": options.temperature},
        "thinking": _thinking(options.thinking),
        "stop_sequences": options.stop or None,
        "output_config": _output_config(options.response_format),
        "tools": described or None,
    }
    asked = {name: value for name, value in wanted.items() if value is not None}
    return {"model": model.model, "max_tokens": options.max_tokens, **asked}


def _schema_of(wanted: Json) -> Json | None:
    """Return the schema of a response format in OpenAI's form."""
    described = wanted.get("json_schema")
    schema = described.get("schema") if wanted.get("type") == "json_schema" and isinstance(described, dict) else None
    return schema if isinstance(schema, dict) else None


def _output_config(wanted: Json | None) -> Json | None:
    return None if wanted is None else {"format": {"type": "json_schema", "schema": _schema_of(wanted)}}


def _thinking(wanted: int | str | None) -> Json | None:
    match wanted:
        case int():
            return {"type": "enabled", "budget_tokens": wanted}
        case "adaptive":
            return {"type": "adaptive", "display": "summarized"}
        case str():
            return {"type": wanted}
    return None


def _conversation(messages: list[Message]) -> list[Json]:
    """Convert messages, joining neighbours of one role, so that all results of a turn are in one message."""
    sent: list[Json] = []
    for message in messages:
        if message.role in SYSTEM:
            continue
        role, blocks = _blocks(message)
        if not sent or sent[-1]["role"] != role:
            sent.append({"role": role, "content": []})
        sent[-1]["content"] += blocks
    return sent


def _blocks(message: Message) -> tuple[str, list[Json]]:
    """Return role and content of a message in the API's format."""
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
    """Replace characters that Anthropic refuses: a call of an earlier job may be from another provider."""
    return _NOT_IN_A_CALL_ID.sub("_", call_id)


DIALECT = Dialect(AnthropicOptions, _client, _Messages)
