"""Fold the events of a session into its conversation. Free of I/O."""

from __future__ import annotations

from itertools import groupby
from typing import Any, NamedTuple

from .event import DELETED, GAP, ORIGIN, STARTED, TERMINAL, Event, EventId, parse_id
from .turn import Message, Turn

LONGEST = 1000  # messages of ended jobs, as many as a gateway keeps


class _Ended(NamedTuple):
    """The messages of an ended job, and its first and last event."""

    job_id: str
    first: EventId
    last: EventId
    messages: list[Message]


class Conversation:
    """The messages of a session on the path to its newest job, of `GET …/messages` and of the events that follow them.

    `cursor`: where to read on; None is the beginning. `incomplete`: events were missing, so that messages may be
    missing too: read the conversation again."""

    def __init__(self) -> None:
        self.cursor: str | None = None
        self.incomplete = False
        self._ended: list[_Ended] = []
        self._turn: Turn | None = None
        self._running: str | None = None  # of the response: all messages of its path were in it

    @classmethod
    def of(cls, answer: dict[str, Any]) -> Conversation:
        """Begin with a response of `GET …/messages`. The messages of the running job follow from its events, so that
        `cursor` is in front of that job."""
        running = answer.get("job_id")
        messages = [message for message in answer["messages"] if running is None or message.get("job_id") != running]
        conversation = cls()
        conversation._running = running
        conversation.cursor = answer.get("replay_from") or answer["cursor"]
        last = parse_id(conversation.cursor)
        by_job = groupby(messages, key=lambda message: str(message.get("job_id")))
        conversation._ended = [_Ended(job_id, ORIGIN, last, list(turn)) for job_id, turn in by_job]
        return conversation

    @property
    def messages(self) -> list[Message]:
        """The messages, oldest first, as a new list: the newest 1,000 of ended jobs, and those of the running one.

        Text that grew is joined when it is read."""
        ended = [dict(message) for turn in self._ended for message in turn.messages]
        return ended[-LONGEST:] + ([] if self._turn is None else self._turn.messages())

    @property
    def question(self) -> dict[str, Any] | None:
        """The question for which the running job waits: `question_id, prompt, schema`."""
        return None if self._turn is None else self._turn.question

    def add(self, event: Event) -> None:
        """Take the next event of the session, or of one job. Raises ProtocolError for an id that is none."""
        if event.id is None:
            self.incomplete = self.incomplete or event.type == GAP
            return
        event_id = parse_id(event.id)
        self.cursor = event.id
        if event.type == GAP:
            self._gap(event.body.get("reason"), event_id)
        elif event.type == DELETED:
            self._ended, self._turn = [], None
        elif event.type == STARTED:
            self._started(event_id, event)
        elif self._turn is not None and self._turn.job_id == event.job_id:
            self._turn.add(event_id, event)
            if event.type in TERMINAL:
                self._end(self._turn, event_id)

    def _started(self, event_id: EventId, event: Event) -> None:
        turn, discard_from = self._turn, event.body.get("discard_from")
        if turn is not None and turn.job_id == event.job_id:
            if discard_from is not None:
                turn.discard(parse_id(discard_from))
            return
        if turn is not None:  # its end is missing
            self._end(turn, event_id)
        if "after" in event.body and event.job_id != self._running:
            self._follow(event.body["after"])
        self._turn = Turn(str(event.job_id), event.body.get("input"), event_id)

    def _follow(self, job_id: str | None) -> None:
        """Keep the messages up to those of this job. If they are not here, it is on another branch."""
        if job_id is None or any(ended.job_id == job_id for ended in self._ended):
            while self._ended and self._ended[-1].job_id != job_id:
                self._ended.pop()
        elif self._ended:
            self.incomplete = True

    def _end(self, turn: Turn, event_id: EventId) -> None:
        self._turn = None
        self._ended.append(_Ended(turn.job_id, turn.first, event_id, turn.messages()))
        count = sum(len(ended.messages) for ended in self._ended)
        while count - len(self._ended[0].messages) >= LONGEST:
            count -= len(self._ended.pop(0).messages)

    def _gap(self, reason: Any, position: EventId) -> None:
        """Take back what is above the position of a `lost`, from which the log continues."""
        if reason != "lost":
            self.incomplete = True
            return
        self.incomplete = self.incomplete or any(ended.first <= position < ended.last for ended in self._ended)
        self._ended = [ended for ended in self._ended if ended.last <= position]
        turn = self._turn
        if turn is not None and turn.first > position:
            self._turn = None
        elif turn is not None:
            self.incomplete = self.incomplete or turn.straddles(position)
            turn.discard((position[0], position[1] + 1))
