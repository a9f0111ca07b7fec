"""Translates the log of a job into the events of an AG-UI run.

Each event has an id, `<epoch>-<seq>.<part>`: that of the event of the log, and its place among those that it became. A
takeover sends a snapshot of the messages that remain. An open question ends the run with an interrupt, and the stream
with it: the answer comes with the next run. Clients: `@ag-ui/client`, TanStack AI, CopilotKit.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import orjson
from holdfast.gateway.dialects.ag_ui.history import NO_HISTORY, History
from holdfast.gateway.dialects.ag_ui.ids import Cursor
from holdfast.gateway.dialects.ag_ui.interrupts import interrupted
from holdfast.gateway.dialects.ag_ui.kept import Message, messages, usages
from holdfast.gateway.dialects.ag_ui.refusal import HEADERS
from holdfast.gateway.dialects.ag_ui.run import (
    DELTAS,
    AgUiEvent,
    Run,
    add,
    add_delta,
    as_text,
    custom,
    discard,
    end_all,
)
from holdfast.gateway.dialects.dialect import END
from holdfast.gateway.dialects.translation import Event, Place, Translated, Translation
from holdfast.shared.ids import ORIGIN, EventId, parse_id
from holdfast.shared.log.discards import Discard, Discards
from holdfast.shared.log.entries import Entry
from holdfast.shared.log.events import (
    ASKED,
    CANCELLED,
    COMPLETED,
    DELETED,
    FAILED,
    MALFORMED,
    STARTED,
    TERMINAL,
    parse_event,
)


class Last(dict[str, Any]):
    """The event that ends a stream."""


LOST = Last(type="RUN_ERROR", message="Events of this run are no longer available", code="events_lost")
TOO_LONG = Last(
    type="RUN_ERROR",
    message="Another worker took over, and this run is too long to correct what was shown",
    code="takeover_too_long",
)


class Progress(NamedTuple):
    """How far the translation of a job is.

    Args:
        run: what later events depend on.
        at: the last event.
        first: of the events with an effect, the first.
        last: of the events with an effect that count, the last.
        skipping: events up to a question are not sent: the client has them from the run before.
        hidden: discarded events are not sent, and there were some with an effect.
    """

    run: Run
    at: EventId = ORIGIN
    first: EventId | None = None
    last: EventId | None = None
    skipping: bool = False
    hidden: bool = False

    def __eq__(self, other: object) -> bool:
        """Within one stream, progress depends on the log alone."""
        return isinstance(other, Progress) and self.at == other.at

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self.at)


@dataclass(frozen=True)
class AgUiStream(Translation):
    """The stream of one job.

    Args:
        run_id: how the client names the run.
        history: the messages before the job.
        snapshot: the client may have other messages than the history: it begins with a snapshot.
        after_question: the run continues behind the answer to this question.
        reasoning: the messages of reasoning that the client has of the job. HttpAgent keeps them, so the snapshot at
            the beginning empties them.
        cursor: the last event that the client has received.
        answered: the questions that had an answer when the client connected; None: all of a job that had ended.
        discards: what takeovers had discarded by then, of which the client has received nothing.
    """

    thread_id: str
    run_id: str
    job_id: str
    history: History = NO_HISTORY
    snapshot: bool = False
    after_question: str | None = None
    reasoning: tuple[str, ...] = field(default=(), compare=False)
    cursor: Cursor | None = field(default=None, compare=False)
    answered: tuple[str, ...] | None = ()
    discards: tuple[Discard, ...] = ()

    @property
    def initial(self) -> Hashable:
        skipping = self.after_question is not None and not self.snapshot
        return Progress(Run(self.job_id), skipping=skipping)

    @property
    def headers(self) -> Mapping[str, str]:
        return HEADERS

    @property
    def opening(self) -> Sequence[Event]:
        started = {"type": "RUN_STARTED", "threadId": self.thread_id, "runId": self.run_id}
        if not self.snapshot:
            return (started,)
        emptied = [{"id": message_id, "role": "reasoning", "content": ""} for message_id in self.reasoning]
        return (started, self._with_history(emptied))

    def translate(self, state: Hashable, entry: Entry) -> Translated:
        assert isinstance(state, Progress)
        if entry.kind in DELTAS:  # the common case of live delivery
            events, after = _with_delta(state, entry)
        else:
            events, after = self._translated(state, entry)
        if self.discards and self._discarded.covers(self.job_id, entry.id):
            return (), state._replace(at=entry.id, hidden=state.hidden or bool(events))
        if state.skipping:  # nothing is open in this run that could end
            return [event for event in events if type(event) is Last], after
        return events, after

    def lost(self, state: Hashable) -> Sequence[Event]:
        return (LOST,)

    def frame(self, event: Event, place: Place) -> bytes:
        if event is LOST:  # at no place in the log
            return b"data: %b\n\n" % _encoded(event)
        part, cursor = place.part, self.cursor
        if type(event) is Last and cursor is not None and cursor >= (place.id, part):
            part = cursor.part + 1  # a client drops an event whose id it has received, and then lacks the end
        return b"id: %d-%d.%d\ndata: %b\n\n" % (*place.id, part, _encoded(event))

    def received(self, event: Event, place: Place, cursor: Hashable) -> bool:
        """The end is sent in any case: without it clients report an error."""
        assert isinstance(cursor, tuple)
        return (place.id, place.part) <= cursor and type(event) is not Last

    @cached_property
    def _discarded(self) -> Discards:
        discarded = Discards()
        for known in self.discards:
            discarded.add(*known)
        return discarded

    def _translated(self, state: Progress, entry: Entry) -> Translated:
        if entry.kind in TERMINAL or entry.kind == DELETED:
            return self._ended(state, entry), state._replace(at=entry.id)
        if entry.kind == STARTED:
            return self._started(state, entry)
        try:
            if (event := parse_event(entry.kind, entry.body)) is None:
                return (), state._replace(at=entry.id)
            if entry.kind == ASKED:
                return self._asked(state, entry.id, event)
            events, run = add(state.run, entry.id, entry.kind, event)
        except MALFORMED:  # an event that no worker wrote
            return (), state._replace(at=entry.id)
        return events, _with(state, run, entry.id, effect=bool(events))

    def _asked(self, state: Progress, at: EventId, event: Mapping[str, Any]) -> Translated:
        """Ask a person: the run ends here, unless the question has been answered."""
        question_id = str(event["question_id"])
        ended, run = end_all(state.run)
        value = {name: event.get(name) for name in ("prompt", "schema")}
        events = [*ended, custom("holdfast.question", {"questionId": question_id, **value})]
        after = _with(state, run, at, effect=True)._replace(
            skipping=state.skipping and question_id != self.after_question
        )
        if self.answered is None or question_id in (self.after_question, *self.answered):
            return events, after
        outcome = interrupted(self.job_id, self.run_id, event)
        return [*events, Last(type="RUN_FINISHED", threadId=self.thread_id, runId=self.run_id, outcome=outcome)], END

    def _started(self, state: Progress, entry: Entry) -> Translated:
        """Correct what an attempt discards, if the client has received anything of it."""
        discard_from = _discard_from(entry)
        after = state._replace(at=entry.id, hidden=False)
        ended, run = end_all(state.run)
        if state.hidden and (run.full or not any(call.open for call in state.run.calls)):
            # Nothing has to be taken back, but ids are the same for all.
            return ended, after._replace(run=run)
        if discard_from is None or state.last is None or (state.last < discard_from and not state.hidden):
            return (), after
        assert state.first is not None
        if run.full and discard_from > state.first:
            return [*ended, TOO_LONG], END
        kept = discard(state.run, discard_from) if discard_from > state.first else Run(self.job_id)
        last = kept.kept.id if kept.kept is not None else None
        first = state.first if last is not None else None
        events = [*ended, self._snapshot(kept, run), custom("holdfast.takeover", {"discardFrom": str(discard_from)})]
        return events, after._replace(run=kept, first=first, last=last)

    def _snapshot(self, run: Run, before: Run) -> AgUiEvent:
        """Return the messages of the thread with those of the run that count. `before`: the run with what it has
        shown."""
        kept = messages(run.kept)
        reasoning = [message for message in messages(before.kept) if message["role"] == "reasoning"]
        if reasoning and not self.history.reasons and all(message["role"] != "reasoning" for message in kept):
            # HttpAgent keeps all reasoning, unless the snapshot has some.
            kept.append({**reasoning[-1], "content": ""})
        return self._with_history(kept)

    def _with_history(self, messages: Sequence[Message]) -> AgUiEvent:
        return {"type": "MESSAGES_SNAPSHOT", "messages": [*map(orjson.Fragment, self.history.messages), *messages]}

    def _ended(self, state: Progress, entry: Entry) -> list[AgUiEvent]:
        """Return the events of a terminal event."""
        ended, run = end_all(state.run)
        body: Any = {}
        with suppress(*MALFORMED):
            body = orjson.loads(entry.body)
        last = Last(self._finished(entry.kind, body if isinstance(body, dict) else {}))
        if (used := usages(run.kept)) and entry.kind != DELETED:
            last["usage"] = used
        return [*ended, last]

    def _finished(self, kind: str, body: Mapping[str, Any]) -> AgUiEvent:
        if kind == COMPLETED:
            finished = {"type": "RUN_FINISHED", "threadId": self.thread_id, "runId": self.run_id}
            return finished if body.get("result") is None else {**finished, "result": body["result"]}
        if kind == CANCELLED:
            return {
                "type": "RUN_ERROR",
                "message": f"Cancelled by {as_text(body.get('by', 'user'))}",
                "code": "cancelled",
            }
        if kind == DELETED:
            return {"type": "RUN_ERROR", "message": "The session was deleted", "code": "session_deleted"}
        assert kind == FAILED
        error = body.get("error")
        fields = error if isinstance(error, dict) else {"message": error or "The run failed"}
        return {
            "type": "RUN_ERROR",
            "message": as_text(fields.get("message")),
            "code": as_text(fields.get("code", "failed")),
        }


def discards_for(cursor: Cursor | None, discards: Iterable[Discard]) -> tuple[Discard, ...]:
    """Return the discards that a client with this cursor has received nothing of, or has seen taken back."""
    return tuple(discard for discard in discards if cursor is None or not discard.first <= cursor.id <= discard.started)


def _encoded(event: AgUiEvent) -> bytes:
    try:
        return orjson.dumps(event)
    except TypeError:  # the value of a CUSTOM event, which may be one level deeper than in the log
        return orjson.dumps({**event, "value": None})


def _with_delta(state: Progress, entry: Entry) -> Translated:
    try:
        events, run = add_delta(state.run, entry.id, entry.kind, orjson.loads(entry.body))
    except MALFORMED:  # an event that no worker wrote
        return (), state._replace(at=entry.id)
    return events, _with(state, run, entry.id, effect=bool(events))


def _with(state: Progress, run: Run, at: EventId, *, effect: bool) -> Progress:
    if not effect:
        return state._replace(run=run, at=at)
    return Progress(run, at, state.first or at, at, state.skipping, state.hidden)


def _discard_from(entry: Entry) -> EventId | None:
    if b'"discard_from"' not in entry.body:
        return None
    with suppress(*MALFORMED):  # an entry that no worker wrote
        return parse_id(orjson.loads(entry.body)["discard_from"])
    return None
