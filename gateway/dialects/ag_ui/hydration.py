"""The stored messages of a thread as TanStack AI's `UIMessage`s."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from holdfast.gateway.dialects.ag_ui.history import of_all, of_session
from holdfast.gateway.dialects.ag_ui.ids import job_run_id
from holdfast.gateway.dialects.ag_ui.kept import Message
from holdfast.shared.job_record import JobState
from holdfast.shared.sessions import RecentMessages


def hydration(recent: RecentMessages, running: JobState | None) -> dict[str, Any]:
    """Return the answer to a hydrating client. `running`: the job that has not ended, which the client then joins."""
    history = of_session(recent, running.job_id) if running else of_all(recent)
    return {
        "messages": _ui_messages([orjson.loads(message) for message in history.messages]),
        "activeRun": None if running is None else {"runId": job_run_id(running.session_id, running.job_id)},
        "interrupts": None,
    }


def _ui_messages(messages: Sequence[Message]) -> list[Message]:
    """A result belongs to the message of its call."""
    shown: list[Message] = []
    callers: dict[str, Message] = {}
    for message in messages:
        if message["role"] == "tool":
            caller = callers.get(message["toolCallId"])
            if caller is not None:
                result = {"toolCallId": message["toolCallId"], "content": message["content"]}
                caller["parts"].append({"type": "tool-result", **result, "state": "complete"})
            continue
        shown.append({"id": message["id"], "role": message["role"], "parts": _parts(message)})
        callers |= {call["id"]: shown[-1] for call in message.get("toolCalls", ())}
    return shown


def _parts(message: Message) -> list[Message]:
    content = message["content"]
    texts = [content] if isinstance(content, str) else [part.get("text") for part in content]
    parts: list[Message] = [{"type": "text", "content": text} for text in texts if isinstance(text, str) and text]
    for call in message.get("toolCalls", ()):
        function = {"name": call["function"]["name"], "arguments": call["function"]["arguments"]}
        parts.append({"type": "tool-call", "id": call["id"], **function, "state": "input-complete"})
    return parts
