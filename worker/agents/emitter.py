"""What a model says, thinks and calls while it answers, as events: numbered blocks of whole characters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from holdfast.worker.run import Run

Kind = Literal["text", "reasoning"]

# An event has its limit, and an answer that does not stream comes in one piece.
MAX_PIECE_CHARS = 16_000


class AnswerEmitter:
    """Emits what the models of a job stream. Text and reasoning number their blocks through the whole job, from 0.

    `has_emitted`: something of the present answer was emitted."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._parts: dict[Kind, int] = {"text": -1, "reasoning": -1}
        self._open: Kind | None = None
        self._pieces = Pieces()
        self._calls: list[str] = []
        self.has_emitted = False

    def begin(self) -> None:
        """A model begins to answer, in blocks of its own."""
        self.pause()
        self._calls = []
        self.has_emitted = False

    async def break_off(self, reason: str) -> None:
        """The present answer goes no further. Its calls, none of which is going to run, end as failed."""
        for call_id in self._calls:
            await self._run.tool_failed(call_id, reason)
        self._calls = []

    def pause(self) -> None:
        """What comes next is a block of its own."""
        self._open = None

    async def text(self, piece: str) -> str:
        """Emit the next piece of the answer. Returns what could be emitted of it."""
        whole = self._next("text", piece)
        for part in _cut(whole):
            await self._run.text(part, self._parts["text"])
        return whole

    async def reasoning(self, piece: str) -> str:
        """The same for a piece of reasoning."""
        whole = self._next("reasoning", piece)
        for part in _cut(whole):
            await self._run.reasoning(part, self._parts["reasoning"])
        return whole

    async def call(self, call_id: str, name: str) -> None:
        """The model begins to call a tool."""
        self.has_emitted = True
        self._calls.append(call_id)
        await self._run.tool_started(call_id, name)

    async def arguments(self, call_id: str, piece: str) -> None:
        """The next piece of a call's arguments."""
        for part in _cut(piece):
            await self._run.tool_arguments(call_id, part)

    def _next(self, kind: Kind, piece: str) -> str:
        if piece and self._open != kind:
            self._open = kind
            self._parts[kind] += 1
            self._pieces = Pieces()
        whole = self._pieces.add(piece)
        self.has_emitted = self.has_emitted or bool(whole)
        return whole


class Pieces:
    """Makes whole characters of pieces that were cut between the two halves of a surrogate pair.

    Servers written in JavaScript cut there, and JSON lets the halves through; UTF-8, and so the log, has no such thing.
    """

    def __init__(self) -> None:
        self._half = ""

    def add(self, piece: str) -> str:
        """The piece with the half that was held back, without the half that it ends on."""
        joined = self._half + piece
        self._half = joined[-1] if joined and "\ud800" <= joined[-1] <= "\udbff" else ""
        return whole(joined[:-1] if self._half else joined)


def _cut(text: str) -> Iterator[str]:
    return (text[start : start + MAX_PIECE_CHARS] for start in range(0, len(text), MAX_PIECE_CHARS))


def whole(text: str) -> str:
    """The text with its surrogate pairs joined and single halves replaced by U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
