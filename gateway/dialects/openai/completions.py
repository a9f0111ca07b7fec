"""The translation of a job's log into the chunks of a streamed chat completion."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import orjson
from holdfast.gateway.dialects.dialect import CUT, END
from holdfast.gateway.dialects.openai.items import Json
from holdfast.gateway.dialects.openai.job_events import ANSWERED, event_of, text_of_result
from holdfast.gateway.dialects.openai.response_ids import call_id
from holdfast.gateway.dialects.openai.responses import DONE, QUESTION
from holdfast.gateway.dialects.openai.usage import Usage, completion_usage, usage_before
from holdfast.gateway.dialects.translation import Event, Place, Translated, Translation
from holdfast.shared.ids import ORIGIN, EventId, parse_id
from holdfast.shared.log.entries import Entry
from holdfast.shared.log.events import ASKED, CANCELLED, COMPLETED, DELETED, FAILED, STARTED, TERMINAL

_TAKEN_OVER = "Another worker continues the job, and a part of what was sent does not count: request it again"
_LOST = "Events of this completion are missing in the log: request it again"


class Progress(NamedTuple):
    """How far a completion is.

    Args:
        shown: the newest event that became a chunk.
        has_text: the job has emitted text.
        before: the question whose answer the completion begins with, until that was read: `begun`.
    """

    shown: EventId = ORIGIN
    has_text: bool = False
    usage: Usage | None = None
    ended: bool = False
    before: str | None = None
    begun: EventId = ORIGIN


class CompletionHead(NamedTuple):
    """What all chunks of a completion have in common."""

    completion_id: str
    model: str
    created_s: int


@dataclass(frozen=True)
class CompletionTranslation(Translation):
    """Has no cursor: a completion is read once. It cannot retract what it has sent, so it ends with an error when
    something of that is discarded.

    Args:
        include_usage: end with a chunk that has the usage, as of `stream_options`.
        answered: the question of the job that the completion continues after: it begins with the answer.
    """

    head: CompletionHead
    include_usage: bool = False
    answered: str | None = None

    @property
    def initial(self) -> Progress:
        return Progress(before=self.answered)

    @property
    def opening(self) -> Sequence[Event]:
        return [self._chunk({"role": "assistant", "content": ""})]

    def translate(self, state: Hashable, entry: Entry) -> Translated:
        assert isinstance(state, Progress)
        handler = _HANDLERS.get(entry.kind)
        if state.ended or handler is None:
            return (), state
        event = event_of(entry)
        if event is None:
            return (), state
        if state.before is not None and entry.kind not in TERMINAL:
            return (), _skipped(state, entry, event)
        return handler(self, state, entry.id, event)

    def lost(self, state: Hashable) -> Sequence[Event]:
        assert isinstance(state, Progress)
        return [] if state.ended else [_error("log_lost", _LOST)]

    def frame(self, event: Event, place: Place) -> bytes:
        if type(event) is bytes:
            return event
        return DONE if event is _END else _framed(event)

    def received(self, event: Event, place: Place, cursor: Hashable) -> bool:
        return False

    def on_started(self, state: Progress, _: EventId, event: Json) -> Translated:
        if "discard_from" not in event:
            return (), state
        discard_from = parse_id(event["discard_from"])
        if state.shown >= discard_from:
            return [_error("attempt_reset", _TAKEN_OVER)], CUT
        before = self.answered if state.begun >= discard_from else state.before
        return (), state._replace(usage=usage_before(state.usage, discard_from), before=before)

    def on_text(self, state: Progress, at: EventId, event: Json) -> Translated:
        before, after = self._around_text
        frame = b"%b%b%b" % (before, orjson.dumps(event["text"]), after)
        return (frame,), Progress(at, True, state.usage, begun=state.begun)  # faster than _replace

    def on_reasoning(self, state: Progress, at: EventId, event: Json) -> Translated:
        return [self._chunk({"reasoning_content": event["text"]})], state._replace(shown=at)

    def on_asked(self, state: Progress, at: EventId, event: Json) -> Translated:
        """A question is a call of a function of the client, and ends the completion. The answer begins another one."""
        arguments = orjson.dumps({"prompt": event.get("prompt"), "schema": event.get("schema")}).decode()
        call = question_call(self.head, event["question_id"], arguments)
        events = [self._chunk({"tool_calls": [{"index": 0, **call}]}), *self._last(state, "tool_calls")]
        return events, END

    def on_answered(self, state: Progress, _: EventId, __: Json) -> Translated:
        return (), state

    def on_usage(self, state: Progress, at: EventId, event: Json) -> Translated:
        usage = Usage(state.usage, at, int(event["input_tokens"]), int(event["output_tokens"]))
        return (), state._replace(usage=usage)

    def on_completed(self, state: Progress, _: EventId, event: Json) -> Translated:
        text = None if state.has_text else text_of_result(event.get("result"))
        chunks = [self._chunk({"content": text})] if text else []
        return [*chunks, *self._last(state, "stop")], state._replace(ended=True)

    def on_failed(self, state: Progress, _: EventId, event: Json) -> Translated:
        error = event.get("error") or {}
        chunk = _error(str(error.get("code", "server_error")), str(error.get("message", "The job failed")))
        return [chunk, _END], state._replace(ended=True)

    def on_cancelled(self, state: Progress, _: EventId, event: Json) -> Translated:
        return [_error("cancelled", "The job was cancelled"), _END], state._replace(ended=True)

    def _last(self, state: Progress, finish_reason: str) -> list[Event]:
        events = [self._chunk({}, finish_reason)]
        if self.include_usage:
            events.append({**self._chunk({}), "choices": [], "usage": completion_usage(state.usage)})
        return [*events, _END]

    @cached_property
    def _around_text(self) -> tuple[bytes, bytes]:
        """The frame of a text, before and after its JSON: nearly every event is one."""
        before, after = _framed(self._chunk({"content": ""})).rsplit(b'""', 1)
        return before, after

    def _chunk(self, delta: Json, finish_reason: str | None = None) -> Json:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        completion_id, model, created_s = self.head
        chunk = {"id": completion_id, "object": "chat.completion.chunk", "created": created_s, "model": model}
        return {**chunk, "choices": [choice], **({"usage": None} if self.include_usage else {})}


_END: Json = {}  # the marker of the end of a stream


def question_call(head: CompletionHead, question_id: str, arguments: str) -> Json:
    """Return the call of a question."""
    function = {"name": QUESTION, "arguments": arguments}
    return {"id": call_id(head.completion_id, question_id), "type": "function", "function": function}


def _skipped(state: Progress, entry: Entry, event: Json) -> Progress:
    """Return the progress after an event in front of the answer with which the completion begins."""
    if entry.kind == ANSWERED and event["question_id"] == state.before:
        return state._replace(before=None, begun=entry.id)
    return state._replace(has_text=True) if entry.kind == "text.delta" else state


def _framed(event: Json) -> bytes:
    return b"data: %b\n\n" % orjson.dumps(event)


def _error(code: str, message: str) -> Json:
    return {"error": {"message": message, "type": "server_error", "param": None, "code": code}}


_Handler = Callable[[CompletionTranslation, Progress, EventId, Any], Translated]

_HANDLERS: Mapping[str, _Handler] = {
    STARTED: CompletionTranslation.on_started,
    "text.delta": CompletionTranslation.on_text,
    "reasoning.delta": CompletionTranslation.on_reasoning,
    ASKED: CompletionTranslation.on_asked,
    ANSWERED: CompletionTranslation.on_answered,
    "usage": CompletionTranslation.on_usage,
    COMPLETED: CompletionTranslation.on_completed,
    FAILED: CompletionTranslation.on_failed,
    CANCELLED: CompletionTranslation.on_cancelled,
    DELETED: CompletionTranslation.on_cancelled,
}
