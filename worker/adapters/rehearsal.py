"""Warm up the providers' SDKs by streaming answers from a local server with fixed responses.

The SDKs import modules and build types lazily. During the first job that would delay the tokens of all other jobs by up
to a second.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import Any

import orjson
from pydantic import BaseModel

Json = dict[str, Any]

_TOOL = {"name": "look", "description": "", "parameters": {"type": "object", "properties": {}}}
_ASKED = [{"role": "user", "content": "Hello"}]


def warm(*modules: str) -> Callable[[], None]:
    """Return the `warm` function of a framework's agents: it imports these modules and warms up the SDKs.

    Modules that the installed version lacks are ignored."""

    def warming() -> None:
        for name in modules:
            with suppress(ImportError):
                import_module(name)
        rehearse()

    return warming


@cache
def rehearse() -> None:
    """Warm up each SDK that was imported."""
    asyncio.run(_rehearse())


async def _rehearse() -> None:
    server = await asyncio.start_server(_answer, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        if "openai" in sys.modules:
            await _openai(f"http://{host}:{port}")
        if "anthropic" in sys.modules:
            await _anthropic(f"http://{host}:{port}")


async def _openai(url: str) -> None:
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient  # noqa: PLC0415  # only where it is there already

    direct = DefaultAsyncHttpxClient(trust_env=False)  # ignores proxy settings of the environment
    sdk: Any = AsyncOpenAI(api_key="none", base_url=url, max_retries=0, http_client=direct)
    async with sdk:
        tools: list[Json] = [{"type": "function", "function": _TOOL}]
        await _hear(sdk.chat.completions.create(model="none", messages=_ASKED, tools=tools, stream=True))
        tools = [{"type": "function", **_TOOL}]
        await _hear(sdk.responses.create(model="none", input=_ASKED, tools=tools, stream=True))


async def _anthropic(url: str) -> None:
    from anthropic import AsyncAnthropic, DefaultAsyncHttpxClient  # noqa: PLC0415  # only where it is there already

    direct = DefaultAsyncHttpxClient(trust_env=False)
    sdk: Any = AsyncAnthropic(api_key="none", base_url=url, max_retries=0, http_client=direct)
    async with sdk:
        for messages in (sdk.messages, sdk.beta.messages):
            await _hear(messages.create(model="none", max_tokens=1, messages=_ASKED, stream=True))


async def _hear(answer: Awaitable[AsyncIterator[Any]]) -> None:
    async for piece in await answer:
        _build(piece)


def _build(value: Any) -> None:
    """Build the types of all parts of an answer, which the SDKs do lazily on validation or serialization."""
    if isinstance(value, BaseModel):
        type(value).model_rebuild()
        value = [field for _, field in value]
    if isinstance(value, list):
        for part in value:
            _build(part)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request like a provider."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    await reader.readexactly(int(head.partition("content-length:")[2].split("\r\n")[0]))
    path = head.split(" ")[1]
    frames = _CHAT if "chat" in path else _RESPONSES if "responses" in path else _MESSAGES
    body = b"".join(b"event: %s\ndata: %s\n\n" % (_kind(frame), orjson.dumps(frame)) for frame in frames)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" + body)
    await writer.drain()
    writer.close()


def _kind(frame: Json) -> bytes:
    return str(frame.get("type", "message")).encode()


def _chunk(**changes: Any) -> Json:
    choice = {"index": 0, "delta": {}, "finish_reason": None}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "none", "choices": [choice]} | changes


def _delta(delta: Json, finish: str | None = None) -> Json:
    return _chunk(choices=[{"index": 0, "delta": delta, "finish_reason": finish}])


_CHAT: list[Json] = [
    _delta({"role": "assistant", "content": "Hello"}),
    _delta(
        {"tool_calls": [{"index": 0, "id": "t", "type": "function", "function": {"name": "look", "arguments": "{}"}}]}
    ),
    _delta({}, "tool_calls"),
    _chunk(choices=[], usage={"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}),
]

_TEXT = {"type": "output_text", "text": "Hello", "annotations": []}
_MESSAGE = {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [_TEXT]}
_CALL = {"type": "function_call", "id": "f", "call_id": "t", "name": "look", "arguments": "{}", "status": "completed"}
_SUMMARY = {"type": "summary_text", "text": "Hm"}
_REASONING = {"type": "reasoning", "id": "r", "summary": [_SUMMARY]}
_COUNTED = {
    "input_tokens": 1,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 1,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 2,
}
_RESPONSE = {
    "id": "a",
    "object": "response",
    "created_at": 1,
    "model": "none",
    "status": "completed",
    "output": [_REASONING, _MESSAGE, _CALL],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [{"type": "function", **_TOOL, "strict": False}],
    "usage": _COUNTED,
}


def _steps(**kinds: Json) -> list[Json]:
    return [
        {"type": f"response.{kind.replace('__', '.')}", "sequence_number": number, **fields}
        for number, (kind, fields) in enumerate(kinds.items())
    ]


_RESPONSES: list[Json] = [
    *_steps(created={"response": _RESPONSE}, in_progress={"response": _RESPONSE}),
    *_steps(
        output_item__added={"output_index": 0, "item": _REASONING},
        reasoning_summary_part__added={"output_index": 0, "item_id": "r", "summary_index": 0, "part": _SUMMARY},
        reasoning_summary_text__delta={"output_index": 0, "item_id": "r", "summary_index": 0, "delta": "Hm"},
        reasoning_summary_text__done={"output_index": 0, "item_id": "r", "summary_index": 0, "text": "Hm"},
        reasoning_summary_part__done={"output_index": 0, "item_id": "r", "summary_index": 0, "part": _SUMMARY},
        output_item__done={"output_index": 0, "item": _REASONING},
    ),
    *_steps(
        output_item__added={"output_index": 1, "item": _MESSAGE},
        content_part__added={"output_index": 1, "item_id": "m", "content_index": 0, "part": _TEXT},
        output_text__delta={"output_index": 1, "item_id": "m", "content_index": 0, "delta": "Hello", "logprobs": []},
        output_text__done={"output_index": 1, "item_id": "m", "content_index": 0, "text": "Hello", "logprobs": []},
        content_part__done={"output_index": 1, "item_id": "m", "content_index": 0, "part": _TEXT},
        output_item__done={"output_index": 1, "item": _MESSAGE},
    ),
    *_steps(
        output_item__added={"output_index": 2, "item": _CALL},
        function_call_arguments__delta={"output_index": 2, "item_id": "f", "delta": "{}"},
        function_call_arguments__done={"output_index": 2, "item_id": "f", "name": "look", "arguments": "{}"},
        output_item__done={"output_index": 2, "item": _CALL},
    ),
    *_steps(completed={"response": _RESPONSE}),
]

_BLOCKS: list[tuple[Json, Json]] = [
    ({"type": "thinking", "thinking": "", "signature": ""}, {"type": "thinking_delta", "thinking": "Hm"}),
    ({"type": "text", "text": ""}, {"type": "text_delta", "text": "Hello"}),
    ({"type": "tool_use", "id": "t", "name": "look", "input": {}}, {"type": "input_json_delta", "partial_json": "{}"}),
]
_ENVELOPE: Json = {
    "id": "m",
    "type": "message",
    "role": "assistant",
    "model": "none",
    "content": [],
    "stop_reason": None,
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
_MESSAGES: list[Json] = [
    {"type": "message_start", "message": _ENVELOPE},
    *(
        frame
        for index, (block, delta) in enumerate(_BLOCKS)
        for frame in (
            {"type": "content_block_start", "index": index, "content_block": block},
            {"type": "content_block_delta", "index": index, "delta": delta},
            {"type": "content_block_stop", "index": index},
        )
    ),
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 1}},
    {"type": "message_stop"},
]
