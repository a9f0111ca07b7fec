"""The messages of a thread before a run. A snapshot has to repeat them, since clients drop what it lacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from weakref import WeakValueDictionary

import orjson
from holdfast.gateway.dialects.ag_ui.kept import Message
from holdfast.gateway.dialects.ag_ui.run import as_text
from holdfast.shared.log.conversation import input_messages
from holdfast.shared.sessions import RecentMessages

MAX_HISTORY_BYTES = 128 * 1024
_ROLES = frozenset({"developer", "system", "user", "assistant", "tool", "reasoning"})


@dataclass(frozen=True, slots=True, weakref_slot=True)
class History:
    """Messages in the form of AG-UI, each as JSON: the newest that fit, and at least one.

    Two with the same `digest` are equal."""

    digest: bytes
    messages: tuple[bytes, ...] = field(compare=False)
    reasons: bool = field(compare=False)

    @classmethod
    def of(cls, messages: Sequence[Message]) -> History:
        """Return the history of these messages. Viewers with equal ones share it."""
        newest: list[bytes] = []
        left, reasons = MAX_HISTORY_BYTES, False
        for message in reversed(messages):
            encoded = orjson.dumps(message)
            left -= len(encoded)
            if newest and left < 0:
                break
            newest.append(encoded)
            reasons = reasons or message["role"] == "reasoning"
        digest = sha256(b"\n".join(newest)).digest()
        return _known.setdefault(digest, cls(digest, tuple(reversed(newest)), reasons))


_known: WeakValueDictionary[bytes, History] = WeakValueDictionary()

NO_HISTORY = History.of(())


def of_client(messages: Iterable[Message], job_id: str | None = None) -> History:
    """Return the messages that a client has sent, without those of the job itself. Raises TypeError for a message that
    cannot be encoded."""
    return History.of([message for message in messages if message["role"] in _ROLES and not _is_of(message, job_id)])


def reasoning_of(messages: Iterable[Message], job_id: str) -> tuple[str, ...]:
    """Return the ids of the reasoning that a client has of a job."""
    return tuple(message["id"] for message in messages if message["role"] == "reasoning" and _is_of(message, job_id))


def of_session(recent: RecentMessages, job_id: str) -> History:
    """Return the stored messages of earlier jobs, and the input of this one."""
    earlier = [orjson.loads(message) for message in recent.earlier]
    asked = [(f"input-{job_id}-{n}", message) for n, message in enumerate(input_messages(recent.given, job_id))]
    return _history([*_with_ids(earlier), *asked])


def of_all(recent: RecentMessages) -> History:
    """Return the stored messages of earlier jobs and of this one."""
    return _history(_with_ids([orjson.loads(message) for message in (*recent.earlier, *recent.own)]))


def _history(messages: Sequence[tuple[str, Message]]) -> History:
    converted = [_converted(message_id, message) for message_id, message in messages]
    return History.of([message for message in converted if message is not None])


def _with_ids(stored: Sequence[Message]) -> list[tuple[str, Message]]:
    """Return stored messages with their ids: counted from the end of their job, since only its oldest ones may be
    missing. No id is like those that a translation gives to the output of the job."""
    counts: Counter[str] = Counter()
    found = []
    for message in reversed(stored):
        job_id = message.get("job_id", "")
        found.append((f"message-{job_id}-{counts[job_id]}", message))
        counts[job_id] += 1
    return found[::-1]


def _is_of(message: Message, job_id: str | None) -> bool:
    return job_id is not None and isinstance(message["id"], str) and message["id"].startswith(f"{job_id}/")


def _converted(message_id: str, message: Message) -> Message | None:
    """Convert a message of a conversation. None: of a role that AG-UI lacks."""
    role, job_id = message.get("role"), message.get("job_id", "")
    converted: Message = {"id": message_id, "role": role, "content": as_text(message.get("content"))}
    if role == "user" and isinstance(message.get("content"), list):
        converted["content"] = message["content"]
    if role == "tool":
        converted["toolCallId"] = f"{job_id}/{message.get('call_id')}"
    if role == "assistant" and (calls := _calls(message.get("tool_calls"), job_id)):
        converted["toolCalls"] = calls
    return converted if role in _ROLES else None


def _calls(given: Any, job_id: str) -> list[Message]:
    """Convert the tool calls of a message. One that a client has sent may have any other shape, and is left out."""
    return [
        {
            "id": f"{job_id}/{call['call_id']}",
            "type": "function",
            "function": {"name": call["name"], "arguments": as_text(call.get("arguments"))},
        }
        for call in (given if isinstance(given, list) else ())
        if isinstance(call, dict) and isinstance(call.get("call_id"), str) and isinstance(call.get("name"), str)
    ]
