"""Fold the events of one job into messages, as `GET …/messages` does. Free of I/O."""

from __future__ import annotations

import json
from typing import Any

from .event import Event, EventId, parse_id

Message = dict[str, Any]
"""A message of docs/protocol.md, "The conversation"."""

FOLDED = frozenset(
    {"text.delta", "tool.called", "tool.result", "tool.failed", "fallback", "question.asked", "question.answered"}
)


class _Draft:
    """A message whose text may grow. Pieces of the text are joined when it is read."""

    __slots__ = ("message", "pieces")

    def __init__(self, message: Message) -> None:
        self.message = message
        self.pieces: list[str] = []

    def read(self) -> Message:
        if self.pieces:
            self.message["content"] += "".join(self.pieces)
            self.pieces.clear()
        return dict(self.message)


class _Fold:
    """The messages that a job's events make, and its open question."""

    def __init__(self, job_id: str, given: Any) -> None:
        self._job_id = job_id
        self.drafts = [_Draft(message) for message in input_messages(given, job_id)]
        self.question: dict[str, Any] | None = None
        self._open: dict[str | None, _Draft] = {}
        self._names: dict[str, str] = {}

    def add(self, event: Event) -> None:
        body = event.body
        match event.type:
            case "text.delta":
                self._assistant(body.get("agent")).pieces.append(str(body.get("text", "")))
            case "tool.called":
                self._called(body)
            case "tool.result":
                self._tool(body, content_of(body.get("result")))
            case "tool.failed":
                self._tool(body, f"error: {content_of(body.get('error'))}")
            case "fallback":
                self._open.pop(body.get("agent"), None)  # the fallback answers anew, in a message of its own
            case "question.asked":
                self.question = {name: body.get(name) for name in ("question_id", "prompt", "schema")}
            case _:
                self.question = None

    def _called(self, body: dict[str, Any]) -> None:
        call = {name: body.get(name) for name in ("call_id", "name", "arguments")}
        self._names[str(call["call_id"])] = str(call["name"])
        self._assistant(body.get("agent")).message.setdefault("tool_calls", []).append(call)

    def _tool(self, body: dict[str, Any], content: str) -> None:
        call_id = str(body.get("call_id"))
        name = self._names.pop(call_id, None)
        if name is None:  # a call whose streaming broke off was never made
            return
        self._open.pop(body.get("agent"), None)
        message = {"role": "tool", "call_id": call_id, "name": name, "content": content, "job_id": self._job_id}
        self.drafts.append(_Draft(message))

    def _assistant(self, agent: str | None) -> _Draft:
        """Return the agent's open message. A tool result closes it, so that the agent then starts another one."""
        draft = self._open.get(agent)
        if draft is None:
            message: Message = {"role": "assistant", "content": "", "job_id": self._job_id}
            draft = self._open[agent] = _Draft(message if agent is None else {**message, "agent": agent})
            self.drafts.append(draft)
        return draft


class Turn:
    """One job's part of a conversation. Events can be taken back, since each is kept while the job is open.

    `first`: the id of the job's first event."""

    def __init__(self, job_id: str, given: Any, first: EventId) -> None:
        self.job_id = job_id
        self.first = first
        self._given = given
        self._events: list[tuple[EventId, Event]] = []
        self._fold = _Fold(job_id, given)

    @property
    def question(self) -> dict[str, Any] | None:
        return self._fold.question

    def add(self, event_id: EventId, event: Event) -> None:
        """Add an event of the job. Events that are no part of a conversation are passed over."""
        if event.type in FOLDED:
            self._events.append((event_id, event))
            self._fold.add(event)

    def discard(self, first: EventId) -> None:
        """Take back the events from this id on. Linear in the events that are kept."""
        kept = len(self._events)
        while kept and self._events[kept - 1][0] >= first:
            kept -= 1
        if kept < len(self._events):
            del self._events[kept:]
            self._fold = _Fold(self.job_id, self._given)
            for _, event in self._events:
                self._fold.add(event)

    def straddles(self, position: EventId) -> bool:
        """Whether a merged event begins at or below a position and ends above it, so that it cannot be split."""
        above = (event for event_id, event in reversed(self._events) if event_id > position)
        return any(parse_id(first) <= position for event in above if (first := event.body.get("from")))

    def messages(self) -> list[Message]:
        """Return the messages as they are now, each a copy."""
        return [draft.read() for draft in self._fold.drafts]


def input_messages(given: Any, job_id: str) -> list[Message]:
    """Return the messages of a job's input: of a string one, of `{"messages": [...]}` those, with text parts joined."""
    if isinstance(given, str):
        return [{"role": "user", "content": given, "job_id": job_id}]
    if isinstance(given, dict) and isinstance(given.get("messages"), list):
        messages = (message for message in given["messages"] if isinstance(message, dict))
        return [{**message, "content": _joined(message.get("content")), "job_id": job_id} for message in messages]
    return []


def _joined(content: Any) -> Any:
    if not isinstance(content, list) or not all(_is_text(part) for part in content):
        return content
    return "".join(part["text"] for part in content)


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)


def content_of(value: Any) -> str:
    """Return a string unchanged, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
