"""What a framework streams, as events of the job. Whatever comes twice, as pieces and as a whole, is said once.

Frameworks name their messages, the blocks of a message and the calls of tools each in its own way. Here any hashable
`message` and `index` will do, as long as the pieces of one thing share them.
"""

from __future__ import annotations

from collections.abc import Hashable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal

from holdfast.shared.errors import EventInvalid
from holdfast.shared.events import encode
from holdfast.worker.agents.emitter import Pieces, whole
from holdfast.worker.agents.tool_calls import MAX_ERROR_CHARS, ToolCall
from holdfast.worker.redaction import without_keys
from holdfast.worker.run import Run
from pydantic_core import to_jsonable_python

# A text that comes as a whole goes into events of this length.
MAX_PIECE_CHARS = 16_000
MAX_DATA_BYTES = 64 * 1024

Kind = Literal["text", "reasoning"]


@dataclass(slots=True)
class _Block:
    """A block of text: its number within the job."""

    part: int
    pieces: Pieces = field(default_factory=Pieces)


@dataclass(slots=True)
class _Call:
    """A call of a tool and how far it has got."""

    run: Run
    message: Hashable
    call: ToolCall
    called: bool = False
    answered: bool = False


@dataclass(slots=True)
class _Emitted:
    """What a job has said so far."""

    blocks: dict[tuple[Kind, Hashable, Hashable], _Block] = field(default_factory=dict)
    calls: dict[tuple[Hashable, Hashable], _Call] = field(default_factory=dict)
    calls_by_id: dict[str, _Call] = field(default_factory=dict)


class FrameworkEmitter:
    """Speaks for a framework in one job. `agent(name)` speaks for an agent within it.

    `memory` is for what an adapter has to remember from one piece to the next."""

    def __init__(self, run: Run, emitted: _Emitted | None = None) -> None:
        self.run = run
        self.memory: dict[Hashable, Any] = {}
        self._emitted = emitted or _Emitted()

    def agent(self, name: str | None) -> FrameworkEmitter:
        """The voice of an agent within the job; this one when it has no name."""
        return FrameworkEmitter(self.run.agent(name), self._emitted) if name else self

    async def text(self, message: Hashable, piece: str, index: Hashable = 0) -> None:
        """The next piece of a block of text."""
        if piece:
            block = self._block("text", message, index)
            await self.run.text(block.pieces.add(piece), block.part)

    async def reasoning(self, message: Hashable, piece: str, index: Hashable = 0) -> None:
        if piece:
            block = self._block("reasoning", message, index)
            await self.run.reasoning(block.pieces.add(piece), block.part)

    async def whole_text(self, message: Hashable, text: str) -> None:
        """A message's text as a whole. Says nothing when any of it has been said."""
        if not self.has_emitted("text", message):
            for start in range(0, len(text), MAX_PIECE_CHARS):
                await self.text(message, text[start : start + MAX_PIECE_CHARS])

    async def whole_reasoning(self, message: Hashable, text: str) -> None:
        if not self.has_emitted("reasoning", message):
            for start in range(0, len(text), MAX_PIECE_CHARS):
                await self.reasoning(message, text[start : start + MAX_PIECE_CHARS])

    def has_emitted(self, kind: Kind, message: Hashable) -> bool:
        return any(known[:2] == (kind, message) for known in self._emitted.blocks)

    async def call(
        self, message: Hashable, index: Hashable, piece: str = "", *, call_id: str = "", name: str = ""
    ) -> None:
        """The next piece of a call's arguments. They wait until its id and its name are known."""
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
        """A call as a whole, its arguments parsed, or as the JSON that they came in."""
        known = self._emitted.calls_by_id.get(call_id)
        if known is None:
            known = _Call(self.run, None, ToolCall(call_id, name))
            await self._start(known)
        if isinstance(arguments, str):
            known.call.text = arguments
            arguments = known.call.arguments
        await self._complete(known, arguments)

    async def ended(self, message: Hashable) -> None:
        """Nothing more comes of this message: its calls are complete."""
        for known in list(self._emitted.calls.values()):
            if known.message == message and known.call.call_id in self._emitted.calls_by_id:
                await self._complete(known, known.call.arguments)

    async def result(self, call_id: str, result: Any, name: str = "tool") -> None:
        """What a call gave. `name` is for a call that nobody has announced."""
        if known := await self._answered(call_id, name):
            await known.run.tool_result(call_id, plain(result))

    async def failed(self, call_id: str, error: Any, name: str = "tool") -> None:
        if known := await self._answered(call_id, name):
            await known.run.tool_failed(call_id, whole(without_keys(as_text(error)))[:MAX_ERROR_CHARS])

    async def usage(self, input_tokens: int | None, output_tokens: int | None, model: str | None) -> None:
        """What one call to a model took; nothing is said where the provider counts nothing."""
        if input_tokens or output_tokens:
            await self.run.usage(input_tokens or 0, output_tokens or 0, model or "")

    async def data(self, name: str, value: Any) -> None:
        """Any value for the page. Of one that is too large the beginning, as text, and `truncated`."""
        value = plain(value)
        encoded = encode(value)
        event = {"type": "data", "name": name, "value": value}
        if len(encoded) > MAX_DATA_BYTES:
            event |= {"value": encoded[:MAX_DATA_BYTES].decode("utf-8", "ignore"), "truncated": True}
        await self.run.emit(event)

    def _block(self, kind: Kind, message: Hashable, index: Hashable) -> _Block:
        blocks = self._emitted.blocks
        if (kind, message, index) not in blocks:
            blocks[kind, message, index] = _Block(part=sum(known[0] == kind for known in blocks))
        return blocks[kind, message, index]

    async def _start(self, known: _Call) -> None:
        """Announce a call, with what has come of its arguments. An id that comes again after its answer is another."""
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
        """The call that gets its answer now; None when it has one."""
        known = self._emitted.calls_by_id.get(call_id)
        if known is None or not known.called:
            await self.called(call_id, name, known.call.text if known else {})
            known = self._emitted.calls_by_id[call_id]
        first, known.answered = not known.answered, True
        return known if first else None


_current: ContextVar[FrameworkEmitter] = ContextVar("_speaking")


def begin(run: Run) -> FrameworkEmitter:
    """Begin to speak in a job: what it calls from here on finds the speech by `current()`."""
    emitter = FrameworkEmitter(run)
    _current.set(emitter)
    return emitter


def current() -> FrameworkEmitter:
    """The speech of the job that calls. Raises LookupError outside of one."""
    return _current.get()


def plain(value: Any) -> Any:
    """The value as JSON, as far as it has such a shape; otherwise its text."""
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
