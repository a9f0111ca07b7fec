"""Folding the events of a job into the messages of a conversation. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

Message = dict[str, Any]
"""`{"role": "user" | "assistant" | "system" | "tool", "content": str, ...}`; an assistant's has `tool_calls`
(`call_id, name, arguments`) where it called tools, a tool's has `call_id` and `name`. Each names its `job_id`."""


class Fold:
    """Takes the events of one attempt in their order and keeps the messages that they amount to."""

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._names: dict[str, str] = {}
        self._open: dict[str | None, Message] = {}

    def messages(self) -> list[Message]:
        return list(self._messages)

    def add(self, event: dict[str, Any]) -> None:
        """Take one event. Events that say nothing in a conversation are passed over."""
        match event["type"]:
            case "job.started":
                self._messages = input_messages(event.get("input"), event["job_id"])
                self._open.clear()
            case "text.delta":
                self._assistant(event)["content"] += event["text"]
            case "tool.called":
                self._called(event)
            case "tool.result":
                self._tool(event, content_of(event.get("result")))
            case "tool.failed":
                self._tool(event, f"error: {content_of(event.get('error'))}")
            case "fallback":
                self._open.pop(event.get("agent"), None)  # what takes over answers anew, in a message of its own

    def _called(self, event: dict[str, Any]) -> None:
        call = {"call_id": event["call_id"], "name": event["name"], "arguments": event.get("arguments")}
        self._names[event["call_id"]] = event["name"]
        self._assistant(event).setdefault("tool_calls", []).append(call)

    def _tool(self, event: dict[str, Any], content: str) -> None:
        call_id = event["call_id"]
        if call_id not in self._names:  # a call that broke off while it streamed was never made
            return
        self._open.pop(event.get("agent"), None)
        self._messages.append(
            {
                "role": "tool",
                "call_id": call_id,
                "name": self._names[call_id],
                "content": content,
                "job_id": event["job_id"],
            }
        )

    def _assistant(self, event: dict[str, Any]) -> Message:
        """The message that this agent is at; after the results of its tools it begins another."""
        agent = event.get("agent")
        message = self._open.get(agent)
        if message is None:
            message = {"role": "assistant", "content": "", "job_id": event["job_id"]}
            if agent is not None:
                message["agent"] = agent
            self._open[agent] = message
            self._messages.append(message)
        return message


def fold(bodies: Iterable[bytes]) -> list[Message]:
    """The messages that the events of one attempt amount to."""
    folding = Fold()
    for body in bodies:
        folding.add(orjson.loads(body))
    return folding.messages()


def input_messages(given: Any, job_id: str) -> list[Message]:
    """The messages that a job's input stands for: `"text"` is one of the user's, `{"messages": [...]}` as they are."""
    if isinstance(given, str):
        return [{"role": "user", "content": given, "job_id": job_id}]
    if isinstance(given, dict) and isinstance(given.get("messages"), list):
        return [{**message, "job_id": job_id} for message in given["messages"] if isinstance(message, dict)]
    return []


def content_of(value: Any) -> str:
    """Text as it is, anything else as JSON."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()
