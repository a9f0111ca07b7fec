"""Fold the events of a job into messages of a conversation. Free of I/O."""

from __future__ import annotations

import re
from collections import deque
from typing import Any

import orjson
from holdfast.shared.log.events import parse_event

MESSAGES_LIMIT = 1000  # of a session that are stored
CONVERSATION_BYTES = 4 * 1024 * 1024  # also in scripts/session/prelude.lua, which trims what is stored

TEXT = "text.delta"
FOLDED = frozenset({TEXT, "tool.called", "tool.result", "tool.failed", "fallback"})

# Why a message with a file, or with another part that is no text, is refused.
NO_FILES = "this agent takes no files or images, only text"

# The units of a JSON string, and the sizes of escapes such as \n and \u0000 in bytes.
_UNITS = re.compile(rb"(?:[^\\]+|\\[^u]|\\u[0-9a-fA-F]{4})*+")
_ESCAPE, _LONG_ESCAPE = 2, 6

Message = dict[str, Any]
"""`{"role": "user" | "assistant" | "system" | "tool", "content": str, ...}`; an assistant's has `tool_calls`
(`call_id, name, arguments`) where it called tools, a tool's has `call_id` and `name`. Each names its `job_id`.
`truncated` marks one of which a part is left out."""


class _Draft:
    """A message under construction and its size in bytes. `text`: the text of an assistant's message in JSON encoding,
    so that each delta is encoded once and appending is linear."""

    __slots__ = ("message", "size", "text")

    def __init__(self, message: Message, text: bytearray | None = None) -> None:
        self.message = message
        self.size = len(orjson.dumps(message))
        self.text = text

    def cut(self, excess: int) -> None:
        """Drop at least the first `excess` bytes of the text, up to a character boundary."""
        assert self.text is not None
        units = _UNITS.match(self.text, 0, excess)
        end = 0 if units is None else units.end()
        if end < excess:  # in the middle of an escape
            end += _LONG_ESCAPE if self.text[end + 1 : end + 2] == b"u" else _ESCAPE
        while end < len(self.text) and self.text[end] & 0xC0 == 0x80:  # a UTF-8 continuation byte
            end += 1
        del self.text[:end]
        self.size -= end
        self.message["truncated"] = True

    def encoded(self) -> bytes:
        encoded = orjson.dumps(self.message)
        if self.text is None:
            return encoded
        head, content, rest = encoded.partition(b'"content":"')
        return b"".join((head, content, self.text, rest))


class Fold:
    """Folds a job's input and its events, in order, into messages. Memory is bounded: only the newest `limit_bytes` of
    the messages are kept.

    `truncated`: events are missing between the input and the first one added."""

    def __init__(
        self, job_id: str, given: Any, *, truncated: bool = False, limit_bytes: int = CONVERSATION_BYTES
    ) -> None:
        self._job_id = job_id
        self._limit_bytes = limit_bytes
        self._truncated = truncated
        self._drafts: deque[_Draft] = deque()
        self._open: dict[str | None, _Draft] = {}
        self._names: dict[str, str] = {}
        self._size = 0
        for message in input_messages(given, job_id):
            self._append(_Draft(message))

    def add(self, kind: str, body: bytes) -> bool:
        """Add one event. Kinds that are not part of a conversation are skipped without parsing.

        Returns False for a malformed event, and for one that is nested too deeply for a message."""
        if kind not in FOLDED:
            return True
        event = parse_event(kind, body)
        if event is None:
            return False
        try:
            self._take(kind, event)
        except TypeError:  # nested too deeply: in a message it is some levels deeper
            return False
        return True

    def messages(self) -> list[bytes]:
        """Return the newest messages that fit into the limit together, each as JSON. Where even the last one does not
        fit, it keeps the end of its text."""
        kept: deque[bytes] = deque()
        left = self._limit_bytes
        for draft in reversed(self._drafts):
            encoded = draft.encoded()
            while not kept and len(encoded) > left and draft.text:
                self._size -= draft.size
                draft.cut(min(len(encoded) - left, len(draft.text)))
                self._size += draft.size
                encoded = draft.encoded()
            left -= len(encoded)
            if left < 0:
                break
            kept.appendleft(encoded)
        return list(kept)

    def _take(self, kind: str, event: dict[str, Any]) -> None:
        match kind:
            case "text.delta":
                self._write(event.get("agent"), event["text"])
            case "tool.called":
                self._called(event)
            case "tool.result":
                self._tool(event, content_of(event.get("result")))
            case "tool.failed":
                self._tool(event, f"error: {content_of(event.get('error'))}")
            case "fallback":
                self._open.pop(event.get("agent"), None)  # the fallback answers anew, in another message
        if self._size > self._limit_bytes:
            self._shrink()

    def truncate(self) -> None:
        """Mark the messages under construction, or else the next one, as incomplete."""
        self._truncated = not self._open
        for draft in self._open.values():
            draft.message["truncated"] = True

    def _write(self, agent: str | None, text: str) -> None:
        encoded = orjson.dumps(text)[1:-1]
        draft = self._assistant(agent)
        assert draft.text is not None
        draft.text += encoded
        self._grow(draft, len(encoded))

    def _called(self, event: dict[str, Any]) -> None:
        call = {"call_id": event["call_id"], "name": event["name"], "arguments": event.get("arguments")}
        size = len(orjson.dumps({"tool_calls": [call]}))  # raises for what `messages` could not encode
        self._names[event["call_id"]] = event["name"]
        draft = self._assistant(event.get("agent"))
        draft.message.setdefault("tool_calls", []).append(call)
        self._grow(draft, size)

    def _tool(self, event: dict[str, Any], content: str) -> None:
        call_id = event["call_id"]
        name = self._names.pop(call_id, None)
        if name is None:  # a call whose streaming broke off was never made
            return
        self._open.pop(event.get("agent"), None)
        self._append(
            _Draft({"role": "tool", "call_id": call_id, "name": name, "content": content, "job_id": self._job_id})
        )

    def _assistant(self, agent: str | None) -> _Draft:
        """Return the agent's open message. A tool result closes it, so that the agent then starts another one."""
        draft = self._open.get(agent)
        if draft is None:
            message: Message = {"role": "assistant", "content": "", "job_id": self._job_id}
            if agent is not None:
                message["agent"] = agent
            if self._truncated:
                message["truncated"] = True
                self._truncated = False
            draft = self._open[agent] = _Draft(message, bytearray())
            self._append(draft)
        return draft

    def _append(self, draft: _Draft) -> None:
        self._drafts.append(draft)
        self._size += draft.size

    def _grow(self, draft: _Draft, size: int) -> None:
        draft.size += size
        self._size += size

    def _shrink(self) -> None:
        """Drop the oldest messages, or the beginning of the text of the only one."""
        while self._drafts and (excess := self._size - self._limit_bytes) > 0:
            oldest = self._drafts[0]
            self._size -= oldest.size
            if len(self._drafts) == 1 and oldest.text and len(oldest.text) >= excess:
                oldest.cut(excess)
                self._size += oldest.size
            else:
                self._drafts.popleft()
                self._open = {agent: draft for agent, draft in self._open.items() if draft is not oldest}


def input_messages(given: Any, job_id: str) -> list[Message]:
    """Return the messages of a job's input. A string is one user message; `{"messages": [...]}` are used unchanged but
    for joined text parts."""
    if isinstance(given, str):
        return [{"role": "user", "content": given, "job_id": job_id}]
    if isinstance(given, dict) and isinstance(given.get("messages"), list):
        messages = (message for message in given["messages"] if isinstance(message, dict))
        return [{**message, "content": joined(message.get("content")), "job_id": job_id} for message in messages]
    return []


def joined(content: Any) -> Any:
    """Join content in text parts, `[{"type": "text", "text": "…"}, …]`, which chat APIs allow instead of a string.
    Other content is returned unchanged."""
    if not isinstance(content, list) or not all(is_text(part) for part in content):
        return content
    return "".join(part["text"] for part in content)


def is_text(part: Any) -> bool:
    """Return whether a part of a message is text."""
    return isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)


def place_of_file(given: Any) -> str | None:
    """Return the place of the first part of an input's messages that is no text, such as `messages.0.content.1`."""
    messages = given.get("messages") if isinstance(given, dict) else None
    for index, message in enumerate(messages if isinstance(messages, list) else []):
        content = message.get("content") if isinstance(message, dict) else None
        for number, part in enumerate(content if isinstance(content, list) else []):
            if not is_text(part):
                return f"messages.{index}.content.{number}"
    return None


def content_of(value: Any) -> str:
    """Return a string unchanged, anything else as JSON."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()
