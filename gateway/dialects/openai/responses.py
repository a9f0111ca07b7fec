"""The translation of a job's log into the event stream of the Responses API."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import orjson
from holdfast.gateway.dialects.dialect import END
from holdfast.gateway.dialects.openai.changes import Changes, delta
from holdfast.gateway.dialects.openai.items import Json, Kind
from holdfast.gateway.dialects.openai.job_events import ANSWERED, event_of, text_of_result
from holdfast.gateway.dialects.openai.output import DELTA_BYTES, Output, Status
from holdfast.gateway.dialects.openai.output import Place as ItemPlace
from holdfast.gateway.dialects.openai.response_object import ResponseHead
from holdfast.gateway.dialects.openai.usage import Usage
from holdfast.gateway.dialects.translation import Event, Place, Translated, Translation
from holdfast.shared.ids import EventId, parse_id
from holdfast.shared.log.conversation import content_of
from holdfast.shared.log.entries import Entry
from holdfast.shared.log.events import ASKED, CANCELLED, COMPLETED, DELETED, FAILED, STARTED

QUESTION = "question"  # the function that a client calls to answer a question of the agent
DONE = b"data: [DONE]\n\n"
# The last frames of a response have its text four times, for every viewer at once.
MAX_OUTPUT_BYTES = 1024 * 1024
MAX_OPEN_ITEMS = 256  # every delta copies the mapping of the open items

_ENDS: Mapping[str, tuple[str, Status]] = {
    COMPLETED: ("response.completed", "completed"),
    FAILED: ("response.failed", "failed"),
    CANCELLED: ("response.incomplete", "cancelled"),
    DELETED: ("response.incomplete", "cancelled"),
}
_DELTA_KINDS: Mapping[str, Kind] = {"text.delta": "message", "reasoning.delta": "reasoning"}
_TERMINAL = frozenset({"response.completed", "response.failed", "response.incomplete"})
_TEXT_DELTA = "response.output_text.delta"
_TEXT_FRAME = (
    b"event: response.output_text.delta\n"
    b'data: {"type":"response.output_text.delta","sequence_number":%d,"item_id":"%b","output_index":%d,"delta":%b,'
    b'"content_index":0,"logprobs":[]}\n\n'
)
_LOST = {"error": {"code": "log_lost", "message": "Events of this response are missing in the log: read it again"}}


@dataclass(frozen=True)
class ResponseTranslation(Translation):
    """Numbers its events by `sequence_number`. The cursor is the last one that a client has received."""

    head: ResponseHead
    initial: ClassVar[Output] = Output()
    after_lost: ClassVar[Hashable] = END

    @property
    def opening(self) -> Sequence[Event]:
        """A response is always created first, and every job is queued before it starts."""
        return [self._lifecycle(f"response.{kind}", Output()) for kind in ("created", "queued")]

    def translate(self, state: Hashable, entry: Entry) -> Translated:
        assert isinstance(state, Output)
        events, output = self.advance(state, entry)
        return events, END if output.status == "incomplete" else output

    def advance(self, output: Output, entry: Entry) -> tuple[Sequence[Event], Output]:
        """Return the events that the next entry becomes, and the output with it."""
        event = event_of(entry) if entry.kind in _KNOWN and not output.ended else None
        if event is None:
            return (), output
        place = (_DELTA_KINDS.get(entry.kind), event.get("agent"))
        if place in output.open:
            events, after = _continued(output, entry.id, place, event["text"])
        else:
            changes = Changes(output, self.head.job, entry.id, len(entry.body))
            self._apply(changes, entry.kind, event)
            events, after = changes.events, changes.output
        if (after.size > MAX_OUTPUT_BYTES or len(after.open) > MAX_OPEN_ITEMS) and not after.ended:
            return self._cut_short(Changes(output, self.head.job, entry.id))
        return events, after

    def lost(self, state: Hashable) -> Sequence[Event]:
        assert isinstance(state, Output)
        return () if state.ended else [self._lifecycle("response.failed", lost_output(state))]

    def frame(self, event: Event, place: Place) -> bytes:
        kind = event["type"]
        if kind == _TEXT_DELTA:  # nearly every event
            text = orjson.dumps(event["delta"])
            return _TEXT_FRAME % (place.number, event["item_id"].encode(), event["output_index"], text)
        numbered = {"type": kind, "sequence_number": place.number, **event}
        data = b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps(numbered))
        return data + DONE if kind in _TERMINAL else data

    def received(self, event: Event, place: Place, cursor: Hashable) -> bool:
        """The last event is sent whatever the cursor: without it, a client would wait for more."""
        assert isinstance(cursor, int)
        return place.number <= cursor and event["type"] not in _TERMINAL

    def _apply(self, changes: Changes, kind: str, event: Json) -> None:
        if kind in _ENDS:
            self._end(changes, kind, event)
        elif kind == STARTED:
            self._start(changes, event)
        else:
            _HANDLERS[kind](changes, event)

    def _start(self, changes: Changes, event: Json) -> None:
        if "discard_from" in event:
            changes.retract(parse_id(event["discard_from"]))
        if changes.output.status == "queued":
            changes.output = replace(changes.output, status="in_progress")
            changes.events.append(self._lifecycle("response.in_progress", Output(status="in_progress")))

    def _end(self, changes: Changes, kind: str, event: Json) -> None:
        name, status = _ENDS[kind]
        if kind == COMPLETED:
            _add_result(changes, event)
        changes.end(completed=kind == COMPLETED)
        changes.output = replace(changes.output, status=status, ending=event)
        changes.events.append(self._lifecycle(name, changes.output))

    def _cut_short(self, changes: Changes) -> tuple[Sequence[Event], Output]:
        """End a response whose output would not fit in memory. The job goes on."""
        changes.end(completed=False)
        changes.output = replace(changes.output, status="incomplete")
        return [*changes.events, self._lifecycle("response.incomplete", changes.output)], changes.output

    def _lifecycle(self, kind: str, output: Output) -> Json:
        return {"type": kind, "response": self.head.json(output)}


def lost_output(output: Output) -> Output:
    """Return the output of a response whose job lacks events in the log."""
    return replace(output, status="failed", ending=_LOST)


def _continued(output: Output, at: EventId, place: Any, text: str) -> tuple[Sequence[Event], Output]:
    """Add a delta to what is open: nearly every event is one."""
    item = output.open[place].with_piece(at, text)
    return (delta(item, text),), output.with_open(place, item, at, len(orjson.dumps(text)) + DELTA_BYTES)


def _text(changes: Changes, event: Json) -> None:
    _add_text(changes, "message", event)


def _reasoning(changes: Changes, event: Json) -> None:
    _add_text(changes, "reasoning", event)


def _add_text(changes: Changes, kind: Kind, event: Json) -> None:
    _close(changes, event)
    place = (kind, event.get("agent"))
    changes.begin(place, kind)
    changes.grow(place, event["text"])


def _add_result(changes: Changes, event: Json) -> None:
    """Make the result of a job the text of its output, which has none."""
    text = text_of_result(event.get("result"))
    if text and all(item.kind != "message" for item in changes.output.items()):
        _add_text(changes, "message", {"text": text})


def _close(changes: Changes, event: Json) -> None:
    """Finish the open text and reasoning of an event's agent."""
    for kind in ("message", "reasoning"):
        place = (kind, event.get("agent"))
        if place in changes.output.open:
            changes.finish(place, "completed")


def _call(event: Json) -> ItemPlace:
    return "mcp_call", event["call_id"]


def _tool_started(changes: Changes, event: Json) -> None:
    if _call(event) not in changes.output.open:
        _close(changes, event)
        label = event.get("agent") or "holdfast"
        fields = {"call_id": event["call_id"], "name": event["name"], "server_label": label}
        changes.begin(_call(event), "mcp_call", {**fields, "output": None, "error": None, "approval_request_id": None})


def _arguments(changes: Changes, event: Json) -> None:
    if _call(event) in changes.output.open:
        changes.grow(_call(event), event["delta"])


def _tool_called(changes: Changes, event: Json) -> None:
    _tool_started(changes, event)
    if changes.output.open[_call(event)].pieces is None:
        changes.grow(_call(event), orjson.dumps(event["arguments"]).decode())
    changes.arguments_done(_call(event))


def _tool_result(changes: Changes, event: Json) -> None:
    if _call(event) in changes.output.open:
        changes.finish(_call(event), "completed", {"output": content_of(event["result"])})


def _tool_failed(changes: Changes, event: Json) -> None:
    if _call(event) in changes.output.open:
        content = [{"type": "text", "text": content_of(event["error"])}]
        changes.finish(_call(event), "failed", {"error": {"type": "mcp_tool_execution_error", "content": content}})


def call_id_of(question_id: str, index: int) -> str:
    """Return the call id of a question. A later attempt may emit it again, and OpenAI's clients take two calls with one
    id for an error."""
    return f"{question_id}#{index}"


def question_of(call_id: str) -> str:
    """Return the question that a call id names."""
    return call_id.rpartition("#")[0] or call_id


def _asked(changes: Changes, event: Json) -> None:
    """A question is a call of a function of the client, which answers it."""
    _close(changes, event)
    question_id = event["question_id"]
    place = (ASKED, question_id)
    call_id = call_id_of(question_id, changes.output.count)
    changes.begin(place, "function_call", {"call_id": call_id, "name": QUESTION})
    arguments = {"prompt": event.get("prompt"), "schema": event.get("schema")}
    changes.grow(place, orjson.dumps(arguments).decode())
    changes.arguments_done(place)
    changes.finish(place, "completed")
    changes.output = replace(changes.output, asked=call_id)


def _answered(changes: Changes, event: Json) -> None:
    question_id = event["question_id"]
    place = (ANSWERED, question_id)
    asked = changes.output.asked or ""
    call_id = asked if question_of(asked) == question_id else question_id
    output = content_of(event.get("value"))
    changes.begin(place, "function_call_output", {"call_id": call_id, "output": output})
    changes.finish(place, "completed")


def _usage(changes: Changes, event: Json) -> None:
    output = changes.output
    usage = Usage(output.usage, output.at, int(event["input_tokens"]), int(event["output_tokens"]))
    changes.output = replace(output, usage=usage)


_Handler = Callable[[Changes, Json], None]

_HANDLERS: Mapping[str, _Handler] = {
    "text.delta": _text,
    "reasoning.delta": _reasoning,
    "tool.started": _tool_started,
    "tool.arguments.delta": _arguments,
    "tool.called": _tool_called,
    "tool.result": _tool_result,
    "tool.failed": _tool_failed,
    "fallback": _close,
    ASKED: _asked,
    ANSWERED: _answered,
    "usage": _usage,
}
_KNOWN = frozenset({STARTED, *_HANDLERS, *_ENDS})
