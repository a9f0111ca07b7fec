"""What a model says and thinks, as events: numbered blocks of whole characters."""

from __future__ import annotations

from typing import Literal

from worker.run import Run

Kind = Literal["text", "reasoning"]


class Voice:
    """Emits the pieces of a job's text and reasoning. Each kind numbers its blocks through the whole job, from 0."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._parts: dict[Kind, int] = {"text": -1, "reasoning": -1}
        self._open: Kind | None = None
        self._pieces = Pieces()

    def pause(self) -> None:
        """What comes next is a block of its own."""
        self._open = None

    async def text(self, piece: str) -> str:
        """Emit the next piece of the answer. Returns what could be emitted of it."""
        whole = self._next("text", piece)
        await self._run.text(whole, self._parts["text"])
        return whole

    async def reasoning(self, piece: str) -> str:
        """The same for a piece of reasoning."""
        whole = self._next("reasoning", piece)
        await self._run.reasoning(whole, self._parts["reasoning"])
        return whole

    def _next(self, kind: Kind, piece: str) -> str:
        if piece and self._open != kind:
            self._open = kind
            self._parts[kind] += 1
            self._pieces = Pieces()
        return self._pieces.add(piece)


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


def whole(text: str) -> str:
    """The text with its surrogate pairs joined and single halves replaced by U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
