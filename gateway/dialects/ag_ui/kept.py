"""The content of a run that counts, from which a takeover builds the messages that remain. Free of I/O."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal, NamedTuple

from holdfast.shared.ids import ORIGIN, EventId

Message = dict[str, Any]

MAX_KEPT_BYTES = 1024 * 1024
_PIECE_BYTES = 300  # of a piece besides its text
_MERGED_CHARACTERS = 4096
_MAX_TOKENS = 2**53 - 1


class Piece(NamedTuple):
    """A part of a message, of a tool call or of the usage.

    Args:
        earlier: the piece before it.
        id: the event that it begins with.
        last: the event that it ends with.
        size: bytes of this piece and those before it.
        key: the id of the message, or of the tool call; the model of a usage.
        about: the tool's name and the id of its message, the tool call of a result, or the tokens of a usage.
    """

    earlier: Piece | None
    id: EventId
    last: EventId
    size: int
    kind: Literal["text", "reasoning", "call", "arguments", "result", "usage"]
    key: str
    text: str = ""
    about: tuple[Any, ...] = ()


def extended(last: Piece | None, piece: Piece, *, boundary: bool) -> Piece:
    """Return the newest piece with one more behind it. Deltas are merged, but not at a boundary of discarding: at a
    mark, or at an event between them, which may have taken the mark of the delta."""
    if (
        last is not None
        and not boundary
        and last.key == piece.key
        and last.kind == piece.kind
        and piece.kind in ("text", "reasoning", "arguments")
        and piece.id == last.last.next()
        and len(last.text) < _MERGED_CHARACTERS
    ):
        size, text = last.size + len(piece.text), last.text + piece.text
        return Piece(last.earlier, last.id, piece.id, size, last.kind, last.key, text)
    size = (0 if last is None else last.size) + _PIECE_BYTES + len(piece.text)
    return piece._replace(earlier=last, size=size)


def before(last: Piece | None, event_id: EventId) -> Piece | None:
    """Return the newest piece below an event."""
    while last is not None and last.id >= event_id:
        last = last.earlier
    return last


def without_calls(last: Piece | None, call_ids: Collection[str]) -> Piece | None:
    """Return the newest piece, without tool calls and their arguments."""
    if not call_ids:
        return last
    kept: Piece | None = None
    for piece in _in_order(last):
        if piece.kind not in ("call", "arguments") or piece.key not in call_ids:
            kept = extended(kept, piece, boundary=True)
    return kept


def condensed(last: Piece | None) -> Piece | None:
    """Return what is left of pieces that are too large to be kept: the sums of the usage, and the id of the last
    reasoning."""
    kept: Piece | None = None
    reasoning = [piece for piece in _in_order(last) if piece.kind == "reasoning"]
    for piece in reasoning[-1:]:
        kept = extended(kept, piece._replace(text=""), boundary=True)
    for total in usages(last):
        tokens = total["inputTokens"], total["outputTokens"]
        kept = extended(kept, Piece(None, ORIGIN, ORIGIN, 0, "usage", total["model"], "", tokens), boundary=True)
    return kept


def messages(last: Piece | None) -> list[Message]:
    """Return the messages that the pieces are, in the form of a MESSAGES_SNAPSHOT."""
    found: dict[str, Message] = {}
    texts: dict[str, list[str]] = {}
    for piece in _in_order(last):
        if piece.kind in ("text", "reasoning"):
            role = "assistant" if piece.kind == "text" else "reasoning"
            found.setdefault(piece.key, {"id": piece.key, "role": role, "content": ""})
            texts.setdefault(piece.key, []).append(piece.text)
        elif piece.kind == "call":
            name, parent = piece.about
            call = {"id": piece.key, "type": "function", "function": {"name": name, "arguments": ""}}
            found[parent] = {"id": parent, "role": "assistant", "toolCalls": [call]}
            texts[piece.key] = []
        elif piece.kind == "arguments":
            texts.setdefault(piece.key, []).append(piece.text)
        elif piece.kind == "result":
            found[piece.key] = {"id": piece.key, "role": "tool", "toolCallId": piece.about[0], "content": piece.text}
    return [_written(message, texts) for message in found.values()]


def usages(last: Piece | None) -> list[dict[str, Any]]:
    """Return the sums of the tokens by model."""
    found: dict[str, dict[str, Any]] = {}
    for piece in _in_order(last):
        if piece.kind == "usage":
            total = found.setdefault(piece.key, {"model": piece.key, "inputTokens": 0, "outputTokens": 0})
            for name, tokens in zip(("inputTokens", "outputTokens"), piece.about, strict=True):
                total[name] = min(total[name] + max(tokens, 0), _MAX_TOKENS)
    return list(found.values())


def _in_order(last: Piece | None) -> list[Piece]:
    pieces: list[Piece] = []
    while last is not None:
        pieces.append(last)
        last = last.earlier
    return pieces[::-1]


def _written(message: Message, texts: dict[str, list[str]]) -> Message:
    if "toolCalls" in message:
        [call] = message["toolCalls"]
        call["function"]["arguments"] = "".join(texts[call["id"]])
    elif message["role"] != "tool":
        message["content"] = "".join(texts[message["id"]])
    return message
