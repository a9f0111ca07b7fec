"""Translates the log of a job into a UI message stream of the AI SDK: one assistant message with one step.

A takeover sends `reset-step`, which removes the parts of the step, and then the chunks that still count. They are at
hand if the takeover was in the log when the client connected. Otherwise the stream is cut, unless no part remains: the
client reconnects, and reads the same chunks from the log. Version 6 knows no `reset-step`: it is cut, and its replay
leaves out what no longer counts.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import orjson
from holdfast.gateway.dialects.ai_sdk.chat_ids import run_id
from holdfast.gateway.dialects.ai_sdk.message import (
    DELTAS,
    EMPTY,
    Added,
    Chunk,
    Message,
    add,
    add_delta,
    as_text,
    end_blocks,
    usage_chunk,
)
from holdfast.gateway.dialects.ai_sdk.refusal import pause_and_end
from holdfast.gateway.dialects.dialect import CUT, stream_headers
from holdfast.gateway.dialects.translation import Event, Place, Translated, Translation
from holdfast.shared.ids import ORIGIN, EventId, parse_id
from holdfast.shared.log.discards import Discard, Discards
from holdfast.shared.log.entries import Entry
from holdfast.shared.log.events import CANCELLED, COMPLETED, DELETED, FAILED, MALFORMED, STARTED, parse_event
from starlette.responses import Response

HEADERS = {**stream_headers(Translation.media_type), "x-vercel-ai-ui-message-stream": "v1"}
DONE = b"data: [DONE]\n\n"
DELETED_TEXT = "The session was deleted"
LOST_TEXT = "Events of this response are no longer available"
FINISH_REASONS = {COMPLETED: "stop", FAILED: "error", CANCELLED: "other"}
STATUSES = {COMPLETED: "completed", FAILED: "failed", CANCELLED: "cancelled"}


class Kept(NamedTuple):
    """The chunks of an event that a later takeover sends again, and the message with them."""

    earlier: Kept | None
    id: EventId
    chunks: Sequence[Chunk]
    message: Message


class Progress(NamedTuple):
    """How far the translation of a job is. It depends on the log alone, so equal positions are equal progress.

    `at`: the last event. `first`, `last`: of the events that count, those with a lasting effect. `over`: the terminal
    event has been sent."""

    at: EventId = ORIGIN
    message: Message = EMPTY
    first: EventId | None = None
    last: EventId | None = None
    kept: Kept | None = None
    over: bool = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Progress) and self.at == other.at

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self.at)


@dataclass(frozen=True)
class UiMessageStream(Translation):
    """The stream of one job.

    Args:
        version: the major version of the package `ai` in the client.
        counted: the client counts chunks and reconnects after a clean end, as WorkflowChatTransport does.
        discards: the takeovers of the job that were in the log when the client connected.
        tail: the number of the newest chunk, for a client that asked for a number of chunks from the end.
    """

    session_id: str
    job_id: str
    version: Literal[6, 7]
    counted: bool = False
    discards: tuple[Discard, ...] = ()
    tail: int | None = None

    initial = Progress()

    @property
    def headers(self) -> Mapping[str, str]:
        tail = {} if self.tail is None else {"x-workflow-stream-tail-index": str(self.tail)}
        return {**HEADERS, "x-workflow-run-id": run_id(self.session_id, self.job_id), **tail}

    @property
    def opening(self) -> Sequence[Event]:
        metadata = {"sessionId": self.session_id, "jobId": self.job_id}
        return ({"type": "start", "messageId": self.job_id, "messageMetadata": metadata}, {"type": "start-step"})

    def translate(self, state: Hashable, entry: Entry) -> Translated:
        assert isinstance(state, Progress)
        if state.over or (self.version == 6 and self._discarded.covers(self.job_id, entry.id)):
            return (), state._replace(at=entry.id)
        if entry.kind in FINISH_REASONS or entry.kind == DELETED:
            return _end(state.message, entry), state._replace(at=entry.id, over=True)
        if entry.kind == STARTED:
            return self._start(state, entry)
        return self._add(state, entry)

    def lost(self, state: Hashable) -> Sequence[Event]:
        return ({"type": "error", "errorText": LOST_TEXT},)

    def frame(self, event: Event, place: Place) -> bytes:
        frame = b"data: %b\n\n" % orjson.dumps(event)
        return frame + DONE if event["type"] == "finish" else frame

    def received(self, event: Event, place: Place, cursor: Hashable) -> bool:
        """A finished message is never resumed at its end: without a chunk a counting client would reconnect forever."""
        assert isinstance(cursor, int)
        return place.number < cursor and event["type"] != "finish"

    def closing(self, retry_ms: int) -> bytes | None:
        return b"" if self.counted else None

    def refusal(self, retry_ms: int) -> Response:
        if self.counted:
            return pause_and_end(self.headers, retry_ms)
        return Translation.refusal(self, retry_ms)

    @cached_property
    def _discarded(self) -> Discards:
        discarded = Discards()
        for discard in self.discards:
            discarded.add(*discard)
        return discarded

    def _add(self, state: Progress, entry: Entry) -> Translated:
        chunks, message = _added(state.message, entry)
        if message is state.message and (not chunks or "transient" in chunks[0]):
            return chunks, state._replace(at=entry.id)
        kept = state.kept
        if self._sends_again(entry.id):
            kept = Kept(kept, entry.id, chunks, message)
        return chunks, Progress(entry.id, message, state.first or entry.id, entry.id, kept)

    def _start(self, state: Progress, entry: Entry) -> Translated:
        discard_from = _discard_from(entry)
        after = state._replace(at=entry.id)
        if discard_from is None or state.last is None or state.last < discard_from:
            return (), after
        assert state.first is not None
        if self.version == 6:
            return (), CUT
        if discard_from <= state.first:
            return _reset(state.message, None), Progress(entry.id)
        if all(discard.started != entry.id for discard in self.discards):
            return (), CUT
        kept = state.kept
        while kept is not None and kept.id >= discard_from:
            kept = kept.earlier
        assert kept is not None
        left = kept if any(discard.started > entry.id for discard in self.discards) else None
        return _reset(state.message, kept), Progress(entry.id, kept.message, state.first, kept.id, left)

    def _sends_again(self, event_id: EventId) -> bool:
        """Return whether a known takeover behind this event sends its chunks again."""
        if not self.discards or self.version == 6:
            return False
        return any(discard.started > event_id < discard.first for discard in self.discards)


def _added(message: Message, entry: Entry) -> Added:
    """Return what an entry adds to a message: nothing, if it is malformed or of an unknown kind."""
    try:
        if entry.kind in DELTAS:  # the common case of live delivery
            return add_delta(message, entry.kind, orjson.loads(entry.body))
        event = parse_event(entry.kind, entry.body)
        return ((), message) if event is None else add(message, entry.id, entry.kind, event)
    except MALFORMED:  # an event that no worker wrote
        return (), message


def _discard_from(entry: Entry) -> EventId | None:
    if b'"discard_from"' not in entry.body:
        return None
    with suppress(*MALFORMED):  # an entry that no worker wrote
        return parse_id(orjson.loads(entry.body)["discard_from"])
    return None


def _reset(before: Message, kept: Kept | None) -> list[Chunk]:
    """Remove the parts of the step, and send those that count again, with adjacent deltas merged."""
    after = EMPTY if kept is None else kept.message
    usage = [usage_chunk(after.usage)] if after.usage != before.usage else []
    return [{"type": "reset-step"}, *_merged(_chunks(kept)), *usage]


def _chunks(kept: Kept | None) -> list[Chunk]:
    batches: list[Sequence[Chunk]] = []
    while kept is not None:
        batches.append(kept.chunks)
        kept = kept.earlier
    return [chunk for batch in reversed(batches) for chunk in batch]


def _merged(chunks: list[Chunk]) -> Iterator[Chunk]:
    """Merge adjacent deltas of one part."""
    run: list[Chunk] = []
    for chunk in chunks:
        if run and _delta_of(run[0]) is not None and _delta_of(chunk) == _delta_of(run[0]):
            run.append(chunk)
            continue
        yield from _joined(run)
        run = [chunk]
    yield from _joined(run)


_TEXT_FIELDS = {"text-delta": "delta", "reasoning-delta": "delta", "tool-input-delta": "inputTextDelta"}


def _delta_of(chunk: Chunk) -> tuple[str, Any] | None:
    kind = chunk["type"]
    return (kind, chunk.get("id") or chunk.get("toolCallId")) if kind in _TEXT_FIELDS else None


def _joined(run: list[Chunk]) -> list[Chunk]:
    if len(run) < 2:
        return run
    field = _TEXT_FIELDS[run[0]["type"]]
    return [{**run[0], field: "".join(chunk[field] for chunk in run)}]


def _end(message: Message, entry: Entry) -> list[Chunk]:
    """Return the chunks of a terminal event."""
    ends, _ = end_blocks(message)
    body = orjson.loads(entry.body)
    finish: Chunk = {"type": "finish", "finishReason": FINISH_REASONS.get(entry.kind, "error")}
    if entry.kind in STATUSES:
        finish["messageMetadata"] = {"status": STATUSES[entry.kind]}
    return [*ends, *_result(entry.kind, body), {"type": "finish-step"}, *_reason(entry.kind, body), finish]


def _result(kind: str, body: Any) -> list[Chunk]:
    """Return the result of a job, unless it is the text that it has written."""
    if kind != COMPLETED or isinstance(body.get("result"), str | None):
        return []
    return [{"type": "data-result", "data": body["result"]}]


def _reason(kind: str, body: Any) -> list[Chunk]:
    """Return why a job did not complete. The SDK reads nothing behind an `error` chunk: it is the last."""
    if kind == CANCELLED:
        return [{"type": "abort", "reason": as_text(body.get("by", "user"))}]
    if kind == DELETED:
        return [{"type": "error", "errorText": DELETED_TEXT}]
    if kind == COMPLETED:
        return []
    error = body.get("error")
    text = error.get("message") if isinstance(error, dict) else error
    metadata = {"status": STATUSES[FAILED], "error": error}
    return [{"type": "message-metadata", "messageMetadata": metadata}, {"type": "error", "errorText": as_text(text)}]
