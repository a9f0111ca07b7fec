"""Translates the log of a job into a UI message stream of the AI SDK: one assistant message with one step.

A takeover of the whole job sends `reset-step`, which removes the parts of the step. Any other one cuts the stream, and
the client reconnects: its replay leaves out what no longer counts. A client that counts chunks receives all of them
again instead: those that do not count, `reset-step`, and those that do. Version 6 has no `reset-step`, and is always
cut.

Format: https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
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
    Fields,
    Message,
    add,
    add_delta,
    as_text,
    end_blocks,
    usage_chunk,
)
from holdfast.gateway.dialects.dialect import CUT, stream_headers
from holdfast.gateway.dialects.translation import Event, Place, Translated, Translation
from holdfast.shared.ids import ORIGIN, EventId, parse_id
from holdfast.shared.log.discards import Discard, Discards
from holdfast.shared.log.entries import Entry
from holdfast.shared.log.events import CANCELLED, COMPLETED, DELETED, FAILED, MALFORMED, STARTED, parse_event

HEADERS = {**stream_headers(Translation.media_type), "x-vercel-ai-ui-message-stream": "v1"}
DONE = b"data: [DONE]\n\n"
MAX_KEPT_BYTES = 8 << 20  # of memory, for each viewer that replays a job, and so the limit of one write
EVENT_BYTES = 500  # of memory, beside the body of the event
FAILED_TEXT = "The job failed"
DELETED_TEXT = "The session was deleted"
LOST_TEXT = "Events of this response are no longer available"
FINISH_REASONS = {COMPLETED: "stop", FAILED: "error", CANCELLED: "other", DELETED: "error"}
STATUSES = {COMPLETED: "completed", FAILED: "failed", CANCELLED: "cancelled", DELETED: "deleted"}


class Kept(NamedTuple):
    """The chunks of an event, which a later takeover sends again, and the message with them.

    `size`: estimated bytes of memory, with the earlier ones. These are dropped when it exceeds MAX_KEPT_BYTES."""

    earlier: Kept | None
    id: EventId
    chunks: Sequence[Chunk]
    message: Message
    size: int


class Progress(NamedTuple):
    """How far the translation of a job is. It depends on the log alone, so equal positions are equal progress.

    `at`: the last event. `first`, `last`: of the events that count, those with a lasting effect. `ended`: the terminal
    event has been sent."""

    at: EventId = ORIGIN
    message: Message = EMPTY
    first: EventId | None = None
    last: EventId | None = None
    kept: Kept | None = None
    ended: bool = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Progress) and self.at == other.at

    def __ne__(self, other: object) -> bool:  # that of a tuple compares all fields
        return not self == other

    def __hash__(self) -> int:
        return hash(self.at)


@dataclass(frozen=True)
class UiMessageStream(Translation):
    """The stream of one job.

    Args:
        version: the major version of the package `ai` in the client.
        counted: the client counts chunks and reconnects after a clean end, as WorkflowChatTransport does.
        discards: the takeovers of the job when the client connected, as its record has them.
        tail: the header `x-workflow-stream-tail-index`, for a client that requested chunks from the end.
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
        if state.ended or (not self.counted and self._discarded.covers(self.job_id, entry.id)):
            return (), state._replace(at=entry.id)
        if entry.kind in FINISH_REASONS:
            return _end(state.message, entry), state._replace(at=entry.id, ended=True)
        if entry.kind == STARTED:
            return self._start(state, entry)
        return self._add(state, entry)

    def lost(self, state: Hashable) -> Sequence[Event]:
        return lost_chunks()

    def frame(self, event: Event, place: Place) -> bytes:
        return framed(event)

    def received(self, event: Event, place: Place, cursor: Hashable) -> bool:
        """A finished message is never resumed at its end: without a chunk a counting client would reconnect forever."""
        assert isinstance(cursor, int)
        return place.number < cursor and event["type"] != "finish"

    def closing(self, retry_ms: int) -> bytes | None:
        return b"" if self.counted else None

    @cached_property
    def _discarded(self) -> Discards:
        discarded = Discards()
        for discard in self.discards:
            discarded.add(*discard)
        return discarded

    @cached_property
    def _last_known(self) -> EventId:
        """The start of the last takeover that was in the log when the client connected."""
        return max((discard.started for discard in self.discards), default=ORIGIN)

    def _add(self, state: Progress, entry: Entry) -> Translated:
        chunks, message = _added(state.message, entry)
        if message is state.message and (not chunks or "transient" in chunks[0]):
            return chunks, state._replace(at=entry.id)
        kept = state.kept
        if self.counted and entry.id < self._last_known:
            size = EVENT_BYTES + len(entry.body) + (0 if kept is None else kept.size)
            kept = Kept(kept if size <= MAX_KEPT_BYTES else None, entry.id, chunks, message, size)
        return chunks, Progress(entry.id, message, state.first or entry.id, entry.id, kept)

    def _start(self, state: Progress, entry: Entry) -> Translated:
        discard_from = _discard_from(entry)
        if discard_from is None or state.last is None or state.last < discard_from:
            return (), state._replace(at=entry.id)
        assert state.first is not None
        if self.version == 6:
            return (), CUT
        if discard_from <= state.first:
            return _reset(state.message, None), Progress(entry.id)
        if not self.counted or entry.id > self._last_known:
            return (), CUT
        kept = state.kept
        while kept is not None and kept.id >= discard_from:
            kept = kept.earlier
        if kept is None or kept.size > MAX_KEPT_BYTES:
            return lost_chunks(), state._replace(at=entry.id, ended=True)
        again = kept if entry.id < self._last_known else None
        return _reset(state.message, kept), Progress(entry.id, kept.message, state.first, kept.id, again)


def framed(chunk: Chunk) -> bytes:
    """Encode a chunk. The last one is followed by the end marker of the protocol."""
    frame = b"data: %b\n\n" % orjson.dumps(chunk)
    return frame + DONE if chunk["type"] == "finish" else frame


def lost_chunks() -> list[Chunk]:
    """Return the end of a message of which a part is missing."""
    return [*_error(LOST_TEXT, status="lost"), _finish("error", "lost")]


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
    """Remove the parts of the step, and send those that count again. `reset-step` leaves the metadata as it is."""
    none_left = before.usage != EMPTY.usage and (kept is None or kept.message.usage == EMPTY.usage)
    usage = [usage_chunk(EMPTY.usage)] if none_left else []
    return [{"type": "reset-step"}, *_chunks(kept), *usage]


def _chunks(kept: Kept | None) -> list[Chunk]:
    batches: list[Sequence[Chunk]] = []
    while kept is not None:
        batches.append(kept.chunks)
        kept = kept.earlier
    return [chunk for batch in reversed(batches) for chunk in batch]


def _end(message: Message, entry: Entry) -> list[Chunk]:
    """Return the chunks of a terminal event. A malformed one, which no worker wrote, is an end as well."""
    ends, _ = end_blocks(message)
    body = parse_event(entry.kind, entry.body) or {}
    finish = _finish(FINISH_REASONS[entry.kind], STATUSES[entry.kind])
    return [*ends, *_result(entry.kind, body), {"type": "finish-step"}, *_reason(entry.kind, body), finish]


def _result(kind: str, body: Fields) -> list[Chunk]:
    """Return the result of a job, unless it is the text that it has written."""
    if kind != COMPLETED or isinstance(body.get("result"), str | None):
        return []
    return [{"type": "data-result", "data": body["result"]}]


def _reason(kind: str, body: Fields) -> list[Chunk]:
    """Return why a job did not complete."""
    if kind == COMPLETED:
        return []
    if kind == CANCELLED:
        return [{"type": "abort", "reason": as_text(body.get("by") or "user")}]
    if kind == DELETED:
        return _error(DELETED_TEXT, status=STATUSES[DELETED])
    error = body.get("error")
    text = error.get("message") if isinstance(error, dict) else error
    return _error(as_text(text or FAILED_TEXT), status=STATUSES[FAILED], error=error)


def _error(text: str, **metadata: Any) -> list[Chunk]:
    """Return an error. The SDK reads nothing behind it, so the metadata precede it."""
    return [{"type": "message-metadata", "messageMetadata": metadata}, {"type": "error", "errorText": text}]


def _finish(reason: str, status: str) -> Chunk:
    return {"type": "finish", "finishReason": reason, "messageMetadata": {"status": status}}
