"""What an agent is given: its input, and the methods by which it speaks. A malformed event is an error in the agent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any, Protocol

from shared.errors import EventInvalid, HoldfastError
from shared.events import encode, encode_event

# A larger result of a tool is cut in the log; the agent has it whole.
MAX_TOOL_RESULT_BYTES = 64 * 1024

# The fields that readers of the log rely on, by type. Other types may have any fields.
_REQUIRED: dict[str, dict[str, type]] = {
    "status": {"message": str},
    "text.delta": {"text": str, "part": int},
    "reasoning.delta": {"text": str, "part": int},
    "tool.started": {"call_id": str, "name": str},
    "tool.arguments.delta": {"call_id": str, "delta": str},
    "tool.called": {"call_id": str, "name": str, "arguments": object},
    "tool.result": {"call_id": str, "result": object},
    "tool.failed": {"call_id": str, "error": object},
    "section.started": {"title": str, "index": int},
    "section.ended": {"title": str, "index": int},
    "data": {"name": str, "value": object},
    "usage": {"input_tokens": int, "output_tokens": int, "model": str},
}
_NEVER_EMPTY = {"text.delta": "text", "reasoning.delta": "text", "tool.arguments.delta": "delta"}
_OURS = frozenset({"id", "prev", "from"})
_DATED = ("tool.started", "tool.called", "tool.result", "tool.failed", "status")


class AgentError(HoldfastError):
    """Raised by an agent to end its job as failed with this code and message."""

    code = "agent_error"

    def __init__(self, code: str, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retryable = retryable


class RunEnded(HoldfastError):
    """The job has ended, or this attempt may not go on: nothing more can be emitted."""

    code = "run_ended"
    title = "The run has ended: nothing more can be emitted"


class Sink(Protocol):
    """Where a run's events go."""

    async def put(self, kind: str, body: bytes) -> None: ...
    async def flush(self) -> None: ...


class Run:
    """One attempt at a job, as its agent sees it.

    `input` is a text or an object; `history` is the conversation before this job, as messages
    `{"role": "user" | "assistant" | "tool", "content": str, …}`; `cancelled` turns true when the job is to stop.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        session_id: str,
        job_id: str,
        attempt: int,
        input: str | dict[str, Any],
        options: dict[str, Any],
        metadata: dict[str, Any],
        history: list[dict[str, Any]],
    ) -> None:
        self.session_id = session_id
        self.job_id = job_id
        self.attempt = attempt
        self.input = input
        self.options = options
        self.metadata = metadata
        self.history = history
        self.cancelled = False
        self.used: dict[str, Any] | None = None
        self._sink: Sink | None = sink

    async def text(self, text: str, part: int = 0) -> None:
        """The next piece of the answer's text block `part`."""
        await self.emit({"type": "text.delta", "text": text, "part": part})

    async def reasoning(self, text: str, part: int = 0) -> None:
        await self.emit({"type": "reasoning.delta", "text": text, "part": part})

    async def status(self, message: str) -> None:
        """What the agent is doing now, for a person to read."""
        await self.emit({"type": "status", "message": message})

    async def data(self, name: str, value: Any) -> None:
        """Any JSON for the page: an outline, a table, a source."""
        await self.emit({"type": "data", "name": name, "value": value})

    async def section_started(self, title: str, index: int) -> None:
        await self.emit({"type": "section.started", "title": title, "index": index})

    async def section_ended(self, title: str, index: int) -> None:
        await self.emit({"type": "section.ended", "title": title, "index": index})

    async def tool_started(self, call_id: str, name: str) -> None:
        await self.emit({"type": "tool.started", "call_id": call_id, "name": name})

    async def tool_arguments(self, call_id: str, delta: str) -> None:
        """The next piece of the arguments' JSON, as it streams."""
        await self.emit({"type": "tool.arguments.delta", "call_id": call_id, "delta": delta})

    async def tool_called(self, call_id: str, name: str, arguments: Any) -> None:
        """The arguments, complete and parsed."""
        await self.emit({"type": "tool.called", "call_id": call_id, "name": name, "arguments": arguments})

    async def tool_result(self, call_id: str, result: Any) -> None:
        """What the tool answered. Above 64 KiB the log gets the beginning of it, and `truncated`."""
        await self.emit({"type": "tool.result", "call_id": call_id, **_bounded("result", result)})

    async def tool_failed(self, call_id: str, error: Any) -> None:
        await self.emit({"type": "tool.failed", "call_id": call_id, **_bounded("error", error)})

    async def usage(self, input_tokens: int, output_tokens: int, model: str) -> None:
        """What one call to a model took. The job's usage is the sum."""
        await self.emit({"type": "usage", "input_tokens": input_tokens, "output_tokens": output_tokens, "model": model})

    async def emit(self, event: dict[str, Any]) -> None:
        """Append an event of any type but Holdfast's own. Waits while Redis is slow and too much is waiting for it.

        Raises EventInvalid when it is malformed or above 256 KiB, RunEnded when the job has ended.
        """
        if self._sink is None:
            raise RunEnded
        kind, body = self._encoded(event)
        if kind in _NEVER_EMPTY and not event[_NEVER_EMPTY[kind]]:
            return
        if kind == "usage":
            self._add_usage(event)
        await self._sink.put(kind, body)

    async def flush(self) -> None:
        """Wait until everything emitted so far is in the log."""
        if self._sink is None:
            raise RunEnded
        await self._sink.flush()

    def end(self) -> None:
        """From now on an emit raises. Called by the worker."""
        self._sink = None

    def _encoded(self, event: dict[str, Any]) -> tuple[str, bytes]:
        kind = _check(event)
        whole: dict[str, Any] = {"type": kind, "job_id": self.job_id} | event | {"job_id": self.job_id}
        if kind in _DATED:
            whole["at"] = time.time_ns() // 1_000_000
        return kind, encode_event(whole)

    def _add_usage(self, event: dict[str, Any]) -> None:
        used = self.used or {"input_tokens": 0, "output_tokens": 0}
        self.used = {
            "input_tokens": used["input_tokens"] + event["input_tokens"],
            "output_tokens": used["output_tokens"] + event["output_tokens"],
            "model": event["model"],
        }


class ThreadRun:
    """The Run of a synchronous agent: the same methods, each of which blocks the agent's thread until it is done."""

    def __init__(self, run: Run, loop: asyncio.AbstractEventLoop) -> None:
        self._run = run
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._run, name)
        return self._blocking(value) if iscoroutinefunction(value) else value

    def _blocking(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            return asyncio.run_coroutine_threadsafe(method(*arguments, **named), self._loop).result()

        return call


def _check(event: dict[str, Any]) -> str:
    """The event's type. Raises EventInvalid when it lacks what readers of the log rely on."""
    kind = event.get("type")
    if not isinstance(kind, str):
        raise EventInvalid("type: an event is an object with a type")
    if not _OURS.isdisjoint(event):
        raise EventInvalid(f"{kind}: the fields id, prev and from are Holdfast's own")
    for name, wanted in _REQUIRED.get(kind, {}).items():
        value = event.get(name)
        if name not in event or not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
            expected = "" if wanted is object else f" ({wanted.__name__})"
            raise EventInvalid(f"{kind} needs {name}{expected}")
    return kind


def _bounded(name: str, value: Any) -> dict[str, Any]:
    """The field as it is, or its beginning as text when it is too large for the log."""
    whole = value.encode("utf-8", "replace") if isinstance(value, str) else encode(value)
    if len(whole) <= MAX_TOOL_RESULT_BYTES:
        return {name: value}
    return {name: whole[:MAX_TOOL_RESULT_BYTES].decode("utf-8", "ignore"), "truncated": True}
