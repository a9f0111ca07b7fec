"""Emit what a framework streams as events of the job. Content that arrives both in pieces and as a whole is emitted
once.

Frameworks identify messages, blocks of a message and tool calls in different ways. Here `message` and `index` are any
hashable values that the pieces of one item share.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from holdfast.shared.errors import EventInvalid
from holdfast.shared.log.events import encode
from holdfast.worker.agents.emitter import Kind, Pieces, cut, whole
from holdfast.worker.agents.tool_calls import MAX_ERROR_CHARS, ToolCall
from holdfast.worker.process.redaction import without_keys
from holdfast.worker.sdk.run import Run
from pydantic_core import to_jsonable_python

MAX_DATA_BYTES = 64 * 1024


@dataclass(slots=True)
class _Block:
    """A block of text. `part`: its number within the job."""

    part: int
    pieces: Pieces = field(default_factory=Pieces)


@dataclass(slots=True)
class _Call:
    """A tool call and its progress."""

    run: Run
    message: Hashable
    call: ToolCall
    called: bool = False
    answered: bool = False


@dataclass(slots=True)
class _Emitted:
    """The blocks and calls that a job has emitted so far."""

    blocks: dict[tuple[Kind, Hashable, Hashable], _Block] = field(default_factory=dict)
    calls: dict[tuple[Hashable, Hashable], _Call] = field(default_factory=dict)
    calls_by_id: dict[str, _Call] = field(default_factory=dict)
    parts: Counter[Kind] = field(default_factory=Counter)


class FrameworkEmitter:
    """Emits events for a framework in one job. `agent(name)` emits for a sub-agent.

    `memory`: state of the adapter between pieces."""

    def __init__(self, run: Run, emitted: _Emitted | None = None) -> None:
        self.run = run
        self.memory: dict[Hashable, Any] = {}
        self._emitted = emitted or _Emitted()

    def agent(self, name: str | None) -> FrameworkEmitter:
        """Return the emitter of a sub-agent; this one without a name."""
        return FrameworkEmitter(self.run.agent(name), self._emitted) if name else self

    async def text(self, message: Hashable, piece: str, index: Hashable = 0) -> None:
        """Emit the next piece of a block of text."""
        if piece:
            block = self._block("text", message, index)
            await self.run.text(block.pieces.add(piece), block.part)

    async def reasoning(self, message: Hashable, piece: str, index: Hashable = 0) -> None:
        if piece:
            block = self._block("reasoning", message, index)
            await self.run.reasoning(block.pieces.add(piece), block.part)

    async def whole_text(self, message: Hashable, text: str) -> None:
        """Emit a message's whole text, unless any of it was emitted."""
        if not self.has_emitted("text", message):
            for piece in cut(text):
                await self.text(message, piece)

    async def whole_reasoning(self, message: Hashable, text: str) -> None:
        if not self.has_emitted("reasoning", message):
            for piece in cut(text):
                await self.reasoning(message, piece)

    def has_emitted(self, kind: Kind, message: Hashable) -> bool:
        return any(known[:2] == (kind, message) for known in self._emitted.blocks)

    async def call(
        self, message: Hashable, index: Hashable, piece: str = "", *, call_id: str = "", name: str = ""
    ) -> None:
        """Emit the next piece of a call's arguments. Buffered until the id and the name are known."""
        known = self._emitted.calls.get((message, index))
        if known is None:
            known = self._emitted.calls[message, index] = _Call(self.run, message, ToolCall(""))
        call = known.call
        if call.call_id and call.name:
            await self.run.tool_arguments(call.call_id, call.add(piece))
            return
        call.call_id, call.name = call.call_id or call_id, call.name or name
        call.text += piece
        if call.call_id and call.name:
            await self._start(known)

    async def called(self, call_id: str, name: str, arguments: Any) -> None:
        """Emit a whole call. `arguments`: parsed, or as JSON text."""
        known = self._emitted.calls_by_id.get(call_id)
        if known is None:
            known = _Call(self.run, None, ToolCall(call_id, name))
            await self._start(known)
        if isinstance(arguments, str):
            known.call.text = arguments
            arguments = known.call.arguments
        await self._complete(known, arguments)

    async def ended(self, message: Hashable) -> None:
        """Complete the calls of a message that has ended."""
        for known in list(self._emitted.calls.values()):
            if known.message == message and known.call.call_id in self._emitted.calls_by_id:
                await self._complete(known, known.call.arguments)

    async def result(self, call_id: str, result: Any, name: str = "tool") -> None:
        """Emit the result of a call. `name` is used for a call that was not announced."""
        if known := await self._answered(call_id, name):
            await known.run.tool_result(call_id, plain(result))

    async def failed(self, call_id: str, error: Any, name: str = "tool") -> None:
        if known := await self._answered(call_id, name):
            await known.run.tool_failed(call_id, whole(without_keys(as_text(error)))[:MAX_ERROR_CHARS])

    async def usage(self, input_tokens: int | None, output_tokens: int | None, model: str | None) -> None:
        """Emit the usage of one model call, unless the provider reports none."""
        if input_tokens or output_tokens:
            await self.run.usage(input_tokens or 0, output_tokens or 0, model or "")

    async def data(self, name: str, value: Any) -> None:
        """Emit any value. Of a large one only the beginning, as text, with `truncated`."""
        value = plain(value)
        encoded = encode(value)
        event = {"type": "data", "name": name, "value": value}
        if len(encoded) > MAX_DATA_BYTES:
            event |= {"value": encoded[:MAX_DATA_BYTES].decode("utf-8", "ignore"), "truncated": True}
        await self.run.emit(event)

    @property
    def unanswered(self) -> list[str]:
        """The names of the calls that have neither a result nor an error."""
        return [known.call.name for known in self._emitted.calls_by_id.values() if not known.answered]

    def emitted(self) -> dict[str, Any]:
        """Return as JSON what `resume` has to know: the number of blocks, and the calls."""
        calls = self._emitted.calls_by_id.items()
        return {
            "parts": dict(self._emitted.parts),
            "calls": [[call_id, known.call.name, known.answered] for call_id, known in calls],
        }

    def resume(self, emitted: dict[str, Any]) -> None:
        """Continue behind what an earlier attempt has emitted."""
        self._emitted.parts = Counter(emitted["parts"])
        for call_id, name, answered in emitted["calls"]:
            call = ToolCall(call_id, name)
            self._emitted.calls_by_id[call_id] = _Call(self.run, None, call, called=True, answered=answered)

    def _block(self, kind: Kind, message: Hashable, index: Hashable) -> _Block:
        blocks, parts = self._emitted.blocks, self._emitted.parts
        if (kind, message, index) not in blocks:
            blocks[kind, message, index] = _Block(part=parts[kind])
            parts[kind] += 1
        return blocks[kind, message, index]

    async def _start(self, known: _Call) -> None:
        """Announce a call with its arguments so far. An id that is used again after its result is a new call."""
        call = known.call
        earlier = self._emitted.calls_by_id.get(call.call_id)
        if earlier is not None and not earlier.answered:
            return
        self._emitted.calls_by_id[call.call_id] = known
        piece, call.text = call.text, ""
        await known.run.tool_started(call.call_id, call.name)
        await known.run.tool_arguments(call.call_id, call.add(piece))

    async def _complete(self, known: _Call, arguments: Any) -> None:
        if not known.called:
            known.called = True
            await known.run.tool_called(known.call.call_id, known.call.name, plain(arguments or {}))

    async def _answered(self, call_id: str, name: str) -> _Call | None:
        """Return the call that gets its result now; None when it has one."""
        known = self._emitted.calls_by_id.get(call_id)
        if known is None or not known.called:
            await self.called(call_id, name, known.call.text if known else {})
            known = self._emitted.calls_by_id[call_id]
        first, known.answered = not known.answered, True
        return known if first else None


_current: ContextVar[FrameworkEmitter] = ContextVar("_current")


def begin(run: Run) -> FrameworkEmitter:
    """Create the emitter of a job. Code called from here on gets it by `current`."""
    emitter = FrameworkEmitter(run)
    _current.set(emitter)
    return emitter


def current() -> FrameworkEmitter:
    """Return the emitter of the current job. Raises LookupError outside a job."""
    return _current.get()


def plain(value: Any) -> Any:
    """Convert a value to JSON; to its text if it has no JSON form."""
    if isinstance(value, str):
        return whole(value)
    try:
        jsonable = to_jsonable_python(value, fallback=str, bytes_mode="base64")
        encode(jsonable)
    except (EventInvalid, ValueError):
        return whole(str(value))
    return jsonable


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else encode(plain(value)).decode()
