"""Chat with models of OpenAI and OpenAI-compatible servers, with tools, over Chat Completions.

Chat Completions instead of Responses, since every compatible server supports it and Holdfast stores the conversation
anyway. The drawback: OpenAI's models return their reasoning over Responses only.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, Literal

import orjson
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
from holdfast.worker.agents.messages import Message
from holdfast.worker.agents.models import Model
from holdfast.worker.agents.provider_errors import ProviderFailure, asked_to_wait_s
from holdfast.worker.agents.tool_calls import Answer, ToolCalls
from holdfast.worker.sdk.tools import Tool
from openai import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    AsyncOpenAI,
    AsyncStream,
    DefaultAsyncHttpxClient,
    Timeout,
)
from openai.resources.chat.chat import AsyncChat  # noqa: F401  # otherwise imported during the first job
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessage
from openai.types.chat.chat_completion import Choice
from openai.types.chat.chat_completion_chunk import ChoiceDelta
from pydantic import Field

# Compatible servers return reasoning in one of these, and some require it in requests of a tool loop.
_REASONING_FIELDS = ("reasoning_content", "reasoning")
_FINISH = {"stop": STOP, "tool_calls": STOP, "function_call": STOP, "length": LENGTH, "content_filter": REFUSAL}
# OpenAI's newer models refuse `max_tokens`; many compatible servers support nothing else.
_NEWER_LIMIT_HOSTS = (".openai.com", ".azure.com")

Json = dict[str, Any]
_HTTP = http_library(Timeout)


class OpenAIOptions(ChatOptions):
    """Options of models of OpenAI and compatible servers."""

    temperature: float | None = Field(None, ge=0, le=2)
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None


def new_client(model: Model, key: str, options: OpenAIOptions) -> AsyncOpenAI:
    """Open a client for one job, so that a cancelled job closes its connection."""
    http_client = DefaultAsyncHttpxClient(verify=tls(_HTTP))
    timeout = timeouts(_HTTP, options.idle_timeout_s)
    return AsyncOpenAI(api_key=key, base_url=model.base_url, timeout=timeout, max_retries=0, http_client=http_client)


class _Completions(Conversation):
    """A chat over Chat Completions."""

    _client: AsyncOpenAI
    _options: OpenAIOptions

    async def turn(self, before: list[Message], *, streamed: bool) -> Turn:
        self._emitter.begin()
        answer = _Answer(self._emitter)
        asked = request_options(self._client, self._model, self._options, self._tools)
        system = [{"role": "system", "content": self._options.system}] if self._options.system else []
        asked["messages"] = [*system, *map(_message, before), *self._messages]
        async with aclosing(self._chunks(asked) if streamed else self._whole(asked)) as chunks:
            async for chunk in chunks:
                await self._take(answer, chunk)
        if answer.finish is None:
            raise self._provider.cut()
        if answer.usage is not None:
            await self._run.usage(*answer.usage, answer.model or self._model.model)
        self._messages.append(answer.message())
        return Turn(answer.text, answer.calls.calls, answer.finish)

    def add(self, answers: list[Answer]) -> None:
        self._messages += [_tool_message(answer.call_id, answer.content) for answer in answers]

    async def _take(self, answer: _Answer, chunk: ChatCompletionChunk | ChatCompletion) -> None:
        if not isinstance(chunk, (ChatCompletionChunk, ChatCompletion)):  # the SDK does not validate types
            raise self._provider.garbled()
        try:
            await answer.add(chunk)
        except (AttributeError, TypeError) as error:
            raise self._provider.garbled() from error

    async def _chunks(self, asked: Json) -> AsyncGenerator[ChatCompletionChunk, None]:
        """Stream the chunks of one answer. Raises ProviderFailure for all errors of the provider."""
        with self._named(self._provider.unreachable):
            stream: AsyncStream[ChatCompletionChunk] = await self._client.chat.completions.create(
                stream=True, stream_options={"include_usage": True}, **asked
            )
        with self._named(self._provider.cut):
            async with stream:
                async for chunk in stream:
                    yield chunk

    async def _whole(self, asked: Json) -> AsyncGenerator[ChatCompletion, None]:
        """Request one answer without streaming, as a single chunk."""
        with self._named(self._provider.unreachable):
            completion: ChatCompletion = await self._client.chat.completions.create(stream=False, **asked)
            yield completion

    @contextmanager
    def _named(self, dropped: Callable[[], ProviderFailure]) -> Iterator[None]:
        """Convert errors of the provider to ProviderFailure; a lost connection becomes `dropped`."""
        try:
            yield
        except (APITimeoutError, _HTTP.TimeoutException):
            raise self._provider.silent(self._options.idle_timeout_s) from None
        except (APIConnectionError, _HTTP.RequestError):  # the SDK converts those of a stream since openai 3
            raise dropped() from None
        except APIStatusError as error:
            wait_s = asked_to_wait_s(error.response.headers)
            raise self._provider.refused(error.status_code, error.body, wait_s) from None
        except APIError as error:
            raise self._provider.broke_off(error.body) from None
        except (ValueError, RecursionError):
            raise self._provider.garbled() from None


class _Answer:
    """One answer, assembled from its chunks and emitted incrementally."""

    def __init__(self, emitter: AnswerEmitter) -> None:
        self._emitter = emitter
        self._reasoning = ("", "")
        self.text = ""
        self.calls = ToolCalls(emitter)
        self.finish: str | None = None
        self.usage: tuple[int, int] | None = None
        self.model = ""

    async def add(self, chunk: ChatCompletionChunk | ChatCompletion) -> None:
        self.model = getattr(chunk, "model", None) or self.model
        if usage := getattr(chunk, "usage", None):
            self.usage = (usage.prompt_tokens, usage.completion_tokens)
        for choice in getattr(chunk, "choices", None) or []:
            await self._say(choice.message if isinstance(choice, Choice) else choice.delta)
            if choice.finish_reason:
                self.finish = _FINISH.get(choice.finish_reason, choice.finish_reason)

    async def _say(self, delta: ChoiceDelta | ChatCompletionMessage) -> None:
        for name in _REASONING_FIELDS:
            if isinstance(piece := getattr(delta, name, None), str):
                self._reasoning = (name, self._reasoning[1] + await self._emitter.reasoning(piece))
                break
        self.text += await self._emitter.text(delta.content or "")
        self.text += await self._emitter.text(delta.refusal or "")
        for position, piece in enumerate(delta.tool_calls or []):
            await self._call(getattr(piece, "index", position), piece.id, getattr(piece, "function", None))

    async def _call(self, index: int, call_id: str | None, function: Any) -> None:
        name, arguments = (function.name, function.arguments) if function else (None, None)
        await self.calls.add(index, call_id or "", name or "", arguments or "")

    def message(self) -> Json:
        """Return the answer for the next request of the tool loop."""
        calls = [_call(call.call_id, call.name, call.arguments or {}) for call in self.calls.calls]
        name, reasoning = self._reasoning
        return _assistant(self.text, calls) | ({name: reasoning} if reasoning else {})


def request_options(client: AsyncOpenAI, model: Model, options: OpenAIOptions, tools: dict[str, Tool]) -> Json:
    """Build the requests of a job without their messages."""
    newer = client.base_url.host.endswith(_NEWER_LIMIT_HOSTS)
    wanted = {
        "temperature": options.temperature,
        "reasoning_effort": options.reasoning_effort,
        "stop": options.stop or None,
        "response_format": options.response_format,
        "max_completion_tokens" if newer else "max_tokens": options.max_tokens,
        "tools": [_described(tool) for tool in tools.values()] or None,
    }
    asked = {name: value for name, value in wanted.items() if value is not None}
    return {"model": model.model, **asked}


def _described(tool: Tool) -> Json:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.schema}
    return {"type": "function", "function": function}


def _message(message: Message) -> Json:
    match message.role:
        case "assistant":
            return _assistant(message.content, [_call(c.call_id, c.name, c.arguments) for c in message.tool_calls])
        case "tool":
            return _tool_message(message.call_id, message.content)
        case role:
            return {"role": role, "content": message.content}


def _assistant(text: str, calls: list[Json]) -> Json:
    return {"role": "assistant", "content": text or None} | ({"tool_calls": calls} if calls else {})


def _call(call_id: str, name: str, arguments: Json) -> Json:
    return {
        "id": call_id,
        "type": "function",
        "function": {"name": name, "arguments": orjson.dumps(arguments).decode()},
    }


def _tool_message(call_id: str, content: str) -> Json:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


DIALECT = Dialect(OpenAIOptions, new_client, _Completions)
