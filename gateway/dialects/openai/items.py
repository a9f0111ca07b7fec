"""The items of a response's output: messages, reasoning, tool calls, questions and answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Self

from holdfast.gateway.dialects.openai.response_ids import item_id
from holdfast.shared.ids import EventId

Json = dict[str, Any]
Kind = Literal["message", "reasoning", "mcp_call", "function_call", "function_call_output"]
ItemStatus = Literal["in_progress", "completed", "incomplete", "failed"]

_PREFIXES: Mapping[Kind, str] = {
    "message": "msg",
    "reasoning": "rs",
    "mcp_call": "mcp",
    "function_call": "fc",
    "function_call_output": "fco",
}


class Piece(NamedTuple):
    """A delta of an item and those before it. A linked list, so that all states of a stream share their deltas."""

    before: Piece | None
    id: EventId
    text: str


@dataclass(slots=True, eq=False)  # not frozen: one is made for each delta, and that would double its cost
class Item:
    """An item of the output. Never changed.

    Args:
        index: its place in the output, counted from 0.
        begun: the id of the event that began it.
        last: the id of the newest event that is in it.
        pieces: its text, or its arguments.
        fields: the other fields of its JSON, such as a tool call's name, output and error.
    """

    id: str
    kind: Kind
    index: int
    begun: EventId
    last: EventId
    status: ItemStatus = "in_progress"
    pieces: Piece | None = None
    fields: Mapping[str, Any] | None = None

    @classmethod
    def begin(cls, job: str, kind: Kind, index: int, at: EventId, fields: Mapping[str, Any] | None = None) -> Self:
        """Return a new item that the event `at` begins. Its id is the same wherever the log is read.

        Args:
            job: the id of the response without its prefix, see response_ids.py.
        """
        return cls(item_id(_PREFIXES[kind], job, at, index), kind, index, at, at, fields=fields)

    @property
    def text(self) -> str:
        return "".join(reversed([piece.text for piece in _backwards(self.pieces)]))

    def with_piece(self, event_id: EventId, text: str) -> Self:
        pieces = Piece(self.pieces, event_id, text)
        return type(self)(self.id, self.kind, self.index, self.begun, event_id, self.status, pieces, self.fields)

    def before(self, event_id: EventId) -> Self:
        """Return the item as it was before an event, which is not its first."""
        pieces = self.pieces
        while pieces is not None and pieces.id >= event_id:
            pieces = pieces.before
        return replace(self, pieces=pieces, last=self.begun if pieces is None else pieces.id)

    def json(self) -> Json:
        """Return the item in the form of OpenAI's output items."""
        return {"id": self.id, "type": self.kind, "status": self.status, **self._content()}

    def opening(self) -> Json:
        """Return the item as it is when it begins, without its content."""
        empty: Mapping[Kind, Json] = {"message": {"content": []}, "reasoning": {"summary": []}}
        return replace(self, pieces=None, status="in_progress").json() | empty.get(self.kind, {})

    def part(self, text: str) -> Json:
        """Return the only part of a message, or of reasoning: a summary, which is what clients show."""
        if self.kind == "message":
            return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
        return {"type": "summary_text", "text": text}

    def _content(self) -> Json:
        match self.kind:
            case "message":
                return {"role": "assistant", "content": [self.part(self.text)]}
            case "reasoning":
                return {"summary": [self.part(self.text)]}
            case "mcp_call" | "function_call":
                return {"arguments": self.text, **(self.fields or {})}
            case "function_call_output":
                return dict(self.fields or {})


def _backwards(piece: Piece | None) -> Iterator[Piece]:
    while piece is not None:
        yield piece
        piece = piece.before
