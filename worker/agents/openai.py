"""The `openai` agent: a chat with tools over the Chat Completions API.

Chat Completions and not Responses, since that is what every OpenAI-compatible server speaks, and its messages are the
conversation that Holdfast keeps anyway. The price: OpenAI's own models tell their reasoning over Responses only.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Literal

import orjson
from openai import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    AsyncOpenAI,
    AsyncStream,
    DefaultAsyncHttpxClient,
    OpenAIError,
)
from openai.resources.chat.chat import AsyncChat  # noqa: F401  # else the SDK imports it amid the first job
from openai.types.chat import ChatCompletionChunk
from openai.types.chat.chat_completion_chunk import ChoiceDelta, ChoiceDeltaToolCall
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

# Compatible servers tell their reasoning in one of these, and some want it back during a tool loop.
_REASONING_FIELDS = ("reasoning_content", "reasoning")
_FINISH = {"stop": STOP, "tool_calls": STOP, "function_call": STOP, "length": LENGTH, "content_filter": REFUSAL}
# OpenAI's newer models refuse `max_tokens`; many compatible servers know nothing else.
_NEWER_LIMIT_HOSTS = (".openai.com", ".azure.com")

Json = dict[str, Any]


class OpenAIOptions(ChatOptions):
    """The options of the `openai` agent."""

    model: str = Field("gpt-5.4-mini", min_length=1, max_length=200)
    temperature: float | None = Field(None, ge=0, le=2)
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None


@agent("openai")
async def openai_agent(run: Run) -> Json:
    """Chat with a model of OpenAI, or of any server that speaks its API (`OPENAI_BASE_URL`)."""
    options = parse_options(OpenAIOptions, run.options)
    tools, messages = chosen_tools(options), conversation(run)
    async with _client(options) as client:
        return await chat(run, _Completions(run, client, options, tools, messages), tools, options.max_steps)


def _client(options: OpenAIOptions) -> AsyncOpenAI:
    """A client of the job's own, so that a cancelled job closes its connection. Raises AgentError without a key."""
    try:
        return AsyncOpenAI(timeout=timeouts(options.idle_timeout_s), http_client=DefaultAsyncHttpxClient(verify=tls()))
    except OpenAIError:
        raise Provider("OpenAI").no_key("OPENAI_API_KEY") from None


class _Completions:
    """A chat over Chat Completions; the request grows by what is said."""

    def __init__(
        self, run: Run, client: AsyncOpenAI, options: OpenAIOptions, tools: dict[str, Tool], messages: list[Message]
    ) -> None:
        self._run = run
        self._client = client
        self._options = options
        self._provider = Provider("OpenAI", [client.api_key])
        self._voice = Voice(run)
        self._request = _request(client, options, tools)
        self._messages: Any = [*_system(options.system), *map(_message, messages)]

    async def turn(self) -> Turn:
        self._voice.pause()
        answer = _Answer(self._run, self._voice)
        async with aclosing(self._chunks()) as chunks:
            async for chunk in chunks:
                await self._take(answer, chunk)
        if answer.finish is None:
            raise self._provider.cut()
        if answer.usage is not None:
            await self._run.usage(*answer.usage, answer.model or self._options.model)
        self._messages.append(answer.message())
        return Turn(answer.text, answer.calls.calls, answer.finish)

    def add(self, answers: list[Answer]) -> None:
        self._messages += [_tool_message(answer.call_id, answer.content) for answer in answers]

    async def _take(self, answer: _Answer, chunk: ChatCompletionChunk) -> None:
        if not isinstance(chunk, ChatCompletionChunk):  # the SDK checks no shapes
            raise self._provider.garbled()
        try:
            await answer.add(chunk)
        except (AttributeError, TypeError) as error:
            raise self._provider.garbled() from error

    async def _chunks(self) -> AsyncGenerator[ChatCompletionChunk, None]:
        """The pieces of one answer. Raises AgentError for whatever goes wrong with the provider."""
        stream: AsyncStream[ChatCompletionChunk] | None = None
        try:
            stream = await self._client.chat.completions.create(messages=self._messages, stream=True, **self._request)
            async with stream:
                async for chunk in stream:
                    yield chunk
        except APITimeoutError:
            raise self._provider.silent(self._options.idle_timeout_s) from None
        except APIConnectionError:
            raise (self._provider.unreachable() if stream is None else self._provider.cut()) from None
        except APIStatusError as error:
            raise self._provider.refused(error.status_code, error.body) from None
        except APIError as error:
            raise self._provider.broke_off(error.body) from None
        except (ValueError, RecursionError):
            raise self._provider.garbled() from None


class _Answer:
    """One answer, put together from its chunks and emitted as it grows."""

    def __init__(self, run: Run, voice: Voice) -> None:
        self._voice = voice
        self._reasoning = ("", "")
        self.text = ""
        self.calls = ToolCalls(run)
        self.finish: str | None = None
        self.usage: tuple[int, int] | None = None
        self.model = ""

    async def add(self, chunk: ChatCompletionChunk) -> None:
        self.model = getattr(chunk, "model", None) or self.model
        if usage := getattr(chunk, "usage", None):
            self.usage = (usage.prompt_tokens, usage.completion_tokens)
        for choice in getattr(chunk, "choices", None) or []:
            await self._say(choice.delta)
            if choice.finish_reason:
                self.finish = _FINISH.get(choice.finish_reason, choice.finish_reason)

    async def _say(self, delta: ChoiceDelta) -> None:
        for name in _REASONING_FIELDS:
            if isinstance(piece := getattr(delta, name, None), str):
                self._reasoning = (name, self._reasoning[1] + await self._voice.reasoning(piece))
                break
        self.text += await self._voice.text(delta.content or "")
        self.text += await self._voice.text(delta.refusal or "")
        for piece in delta.tool_calls or []:
            await self._call(piece)

    async def _call(self, piece: ChoiceDeltaToolCall) -> None:
        name, arguments = (piece.function.name, piece.function.arguments) if piece.function else (None, None)
        await self.calls.add(piece.index, piece.id or "", name or "", arguments or "")

    def message(self) -> Json:
        """The answer as it goes back in the next request of the tool loop."""
        calls = [_call(call.call_id, call.name, call.arguments or {}) for call in self.calls.calls]
        name, reasoning = self._reasoning
        return _assistant(self.text, calls) | ({name: reasoning} if reasoning else {})


def _request(client: AsyncOpenAI, options: OpenAIOptions, tools: dict[str, Tool]) -> Json:
    """What every request of the job has, messages aside."""
    newer = client.base_url.host.endswith(_NEWER_LIMIT_HOSTS)
    wanted = {
        "temperature": options.temperature,
        "reasoning_effort": options.reasoning_effort,
        "max_completion_tokens" if newer else "max_tokens": options.max_tokens,
        "tools": [_described(tool) for tool in tools.values()] or None,
    }
    asked = {name: value for name, value in wanted.items() if value is not None}
    return {"model": options.model, "stream_options": {"include_usage": True}, **asked}


def _described(tool: Tool) -> Json:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.schema}
    return {"type": "function", "function": function}


def _system(text: str | None) -> list[Json]:
    return [{"role": "system", "content": text}] if text else []


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
