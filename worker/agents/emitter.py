"""Emit the answers of the built-in chat agents' models as events: numbered blocks of whole characters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from holdfast.worker.sdk.run import Run

Kind = Literal["text", "reasoning"]

# Length of the pieces of a whole text, since the size of an event is limited.
MAX_PIECE_CHARS = 16_000


class AnswerEmitter:
    """Emits the answers of a job's models. Blocks of text and of reasoning are each numbered through the job, from 0.

    `has_emitted`: part of the current answer was emitted."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._parts: dict[Kind, int] = {"text": -1, "reasoning": -1}
        self._open: Kind | None = None
        self._pieces = Pieces()
        self._calls: list[str] = []
        self.has_emitted = False

    def begin(self) -> None:
        """Start an answer, with blocks of its own."""
        self.pause()
        self._calls = []
        self.has_emitted = False

    async def break_off(self, reason: str) -> None:
        """Abort the current answer. Its calls, which will not run, end as failed."""
        for call_id in self._calls:
            await self._run.tool_failed(call_id, reason)
        self._calls = []

    def pause(self) -> None:
        """End the current block."""
        self._open = None

    async def text(self, piece: str) -> str:
        """Emit the next piece of the answer. Returns the whole characters that were emitted."""
        whole = self._next("text", piece)
        for part in cut(whole):
            await self._run.text(part, self._parts["text"])
        return whole

    async def reasoning(self, piece: str) -> str:
        """Emit the next piece of reasoning. Returns the whole characters that were emitted."""
        whole = self._next("reasoning", piece)
        for part in cut(whole):
            await self._run.reasoning(part, self._parts["reasoning"])
        return whole

    async def call(self, call_id: str, name: str) -> None:
        """Start a tool call."""
        self.has_emitted = True
        self._calls.append(call_id)
        await self._run.tool_started(call_id, name)

    async def arguments(self, call_id: str, piece: str) -> None:
        """Emit the next piece of a call's arguments."""
        for part in cut(piece):
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
    """Joins surrogate pairs that were split between two pieces.

    Servers written in JavaScript may split there, and JSON can carry the halves, but UTF-8, and so the log, cannot.
    """

    def __init__(self) -> None:
        self._half = ""

    def add(self, piece: str) -> str:
        """Return the piece with the half held back before, and without a half at its end."""
        joined = self._half + piece
        self._half = joined[-1] if joined and "\ud800" <= joined[-1] <= "\udbff" else ""
        return whole(joined[:-1] if self._half else joined)


def cut(text: str) -> Iterator[str]:
    """Split a whole text into pieces that each fit into an event."""
    return (text[start : start + MAX_PIECE_CHARS] for start in range(0, len(text), MAX_PIECE_CHARS))


def whole(text: str) -> str:
    """Join the surrogate pairs of a text and replace lone halves by U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
