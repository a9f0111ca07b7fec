"""Assemble the streamed tool calls of a model's turn, then run them concurrently."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from holdfast.shared.log.events import encode
from holdfast.worker.agents.emitter import AnswerEmitter, Pieces, whole
from holdfast.worker.process.redaction import without_keys
from holdfast.worker.sdk.run import Run
from holdfast.worker.sdk.tools import Tool

MAX_ERROR_CHARS = 2000


@dataclass(slots=True)
class ToolCall:
    """A tool call. `text`: the JSON of its arguments so far."""

    call_id: str
    name: str = ""
    text: str = ""
    _pieces: Pieces = field(default_factory=Pieces)

    @property
    def arguments(self) -> dict[str, Any] | None:
        """The parsed arguments; None when the text is no JSON object. An empty text means no arguments."""
        try:
            value = orjson.loads(self.text or "{}")
        except orjson.JSONDecodeError:
            return None
        return value if isinstance(value, dict) else None

    def add(self, piece: str) -> str:
        """Add a piece of the arguments. Returns its whole characters."""
        added = self._pieces.add(piece)
        self.text += added
        return added


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a call for the model."""

    call_id: str
    content: str
    failed: bool = False


class ToolCalls:
    """Assembles the calls of one turn and emits them incrementally. The pieces of a call share an index."""

    def __init__(self, emitter: AnswerEmitter) -> None:
        self._emitter = emitter
        self._by_index: dict[int, ToolCall] = {}
        self._all: list[ToolCall] = []

    @property
    def calls(self) -> list[ToolCall]:
        """The calls in the order of their start, without those that never got a name."""
        return [call for call in self._all if call.name]

    async def add(self, index: int, call_id: str, name: str, piece: str) -> None:
        """Add the next piece of a call. Missing parts are empty. Arguments are buffered until the name is known."""
        call = self._at(index, call_id)
        if name and not call.name:
            call.name = name
            await self._emitter.call(call.call_id, name)
            piece, call.text = call.text + piece, ""
        added = call.add(piece)
        if call.name:
            await self._emitter.arguments(call.call_id, added)

    def _at(self, index: int, call_id: str) -> ToolCall:
        """Return the call at the index. Some servers use one index for all calls, so a different id is a different
        call."""
        call = self._by_index.get(index)
        if call is None or (call_id and call_id != call.call_id and call.name):
            call = self._by_index[index] = ToolCall(call_id or f"call_{uuid.uuid4().hex}")
            self._all.append(call)
        elif call_id:
            call.call_id = call_id
        return call


async def run_side_by_side(run: Run, calls: list[ToolCall], tools: Mapping[str, Tool]) -> list[Answer]:
    """Run all calls concurrently. Returns their answers in order; that of a failed call is its error."""
    for call in calls:
        await run.tool_called(call.call_id, call.name, call.arguments or {})
    tasks = [asyncio.create_task(_answer(run, call, tools)) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def _answer(run: Run, call: ToolCall, tools: Mapping[str, Tool]) -> Answer:
    arguments, tool = call.arguments, tools.get(call.name)
    if tool is None:
        return await _failed(run, call, f"there is no tool {call.name!r}")
    if arguments is None:
        return await _failed(run, call, f"the arguments are not a JSON object: {call.text[:100]}")
    try:
        result = await tool.call(arguments)
        encoded = encode(result)
    except Exception as error:  # noqa: BLE001  # a tool may raise anything; the model gets the error
        return await _failed(run, call, f"{type(error).__name__}: {error}")
    await run.tool_result(call.call_id, result)
    return Answer(call.call_id, result if isinstance(result, str) else encoded.decode())


async def _failed(run: Run, call: ToolCall, reason: str) -> Answer:
    text = whole(without_keys(reason))[:MAX_ERROR_CHARS]
    await run.tool_failed(call.call_id, text)
    return Answer(call.call_id, f"error: {text}", failed=True)
