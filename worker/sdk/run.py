"""The interface of agents: the job's input, and methods that emit events. A malformed event is an error of the
agent."""

from __future__ import annotations

import asyncio
import copy
import inspect
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from holdfast.shared.errors import EventInvalid, HoldfastError
from holdfast.shared.json_schema import check_schema
from holdfast.shared.log.events import encode, encode_event, missing_field
from holdfast.shared.owner import Owner, owner_of
from holdfast.worker.attempt.journal import Journal, Step, current_step
from holdfast.worker.sdk.client import Client
from holdfast.worker.sdk.spans import Numbers, Section, ToolCall

# A larger tool result is truncated in the log only.
MAX_TOOL_RESULT_BYTES = 64 * 1024

_NEVER_EMPTY = {"text.delta": "text", "reasoning.delta": "text", "tool.arguments.delta": "delta"}
_OURS = frozenset({"id", "prev", "from"})
_ASKING = frozenset({"question.asked", "question.answered"})
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
    """The job has ended, or this attempt was stopped: nothing more can be emitted."""

    code = "run_ended"
    title = "The run has ended: nothing more can be emitted"


class Sink(Protocol):
    """The destination of a run's events."""

    async def put(self, kind: str, body: bytes, step: Step | None = None) -> None: ...
    async def flush(self) -> None: ...


class RunState:
    """The state that a run shares with the runs of its sub-agents."""

    def __init__(self, sink: Sink, journal: Journal | None, left: Callable[[], dict[str, float]]) -> None:
        self.sink: Sink | None = sink
        self.journal = journal
        self.left = left
        self.cancelled = False
        self.has_text = False
        self.numbers = Numbers()


class Run:
    """One attempt at a job, as its agent sees it.

    It has more than 20 methods, since it is the whole interface of an agent: one method for each kind of event.

    `input` is a text or an object; `history` is the conversation before this job, as messages
    `{"role": "user" | "assistant" | "tool", "content": str, …}`. With authentication, `session_id` begins with its
    owner and is unique among all tenants (`tenant/subject/session`). `models`: the names of the models that the job's
    tenant may use; None: all. `client`: what the page sent with the job.
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
        journal: Journal | None = None,
        left: Callable[[], dict[str, float]] = dict,
        check_day: Callable[[], Awaitable[None]] | None = None,
        models: frozenset[str] | None = None,
        client: Client | None = None,
    ) -> None:
        self.session_id = session_id
        self.job_id = job_id
        self.attempt = attempt
        self.input = input
        self.options = options
        self.metadata = metadata
        self.history = history
        self.models = models
        self.client = client or Client()
        self._check_day = check_day
        self._state = RunState(sink, journal, left)
        self._name: str | None = None

    @property
    def owner(self) -> Owner | None:
        """The tenant and the subject that the session belongs to; None without authentication."""
        return owner_of(self.session_id)

    @property
    def budget(self) -> dict[str, float]:
        """What is left of the job's budget: `tokens`, `cost_usd`, `seconds`, `tool_calls`; only those with a limit."""
        return self._state.left()

    @property
    def cancelled(self) -> bool:
        """Whether the job is being cancelled."""
        return self._state.cancelled

    @property
    def has_text(self) -> bool:
        """Whether any text of the answer was emitted, by this agent or a sub-agent."""
        return self._state.has_text

    def agent(self, name: str) -> Run:
        """Return the run for a sub-agent, whose events carry its name. Sub-agents may emit concurrently."""
        named = copy.copy(self)
        named._name = name  # noqa: SLF001 - a Run of our own making
        return named

    async def ask(self, prompt: str, schema: dict[str, Any] | None = None) -> Any:
        """Ask a person, and wait for the answer for as long as the deployment allows.

        The wait takes no slot of the worker and outlives it: the agent then runs again, gets the answer here, and skips
        recorded steps. `schema`: a JSON schema that the answer must satisfy. Raises EventInvalid when it is invalid."""
        try:
            check_schema(schema or {})
        except ValueError as error:
            raise EventInvalid(f"question.asked needs a JSON schema: {error}") from None
        question = self._whole({"type": "question.asked", "prompt": prompt, "schema": schema or {}})
        question_id, value = await self._journal().ask(question)
        await self._put({"type": "question.answered", "question_id": question_id, "value": value})
        return value

    async def check_budget(self) -> None:
        """Raise RunEnded, and end the job, if nothing is left of its tenant's budget of this day.

        For agents to call before a model call, so that none begins with nothing left."""
        if self._check_day is not None:
            await self._check_day()

    async def step(
        self, name: str, function: Callable[..., Any], *arguments: Any, timeout_s: float | None = None
    ) -> Any:
        """Run `function(*arguments)` once over all attempts, and return its result, which must be JSON.

        A step that was interrupted before its result was recorded runs again. So a function with the parameter
        `idempotency_key` gets a key that is the same in every attempt. Raises AgentError `step_timeout` when it takes
        longer than `timeout_s`."""
        step = await self.open_step(name, arguments)
        if step.done:
            return step.result
        with step.entered():
            result = await _within(timeout_s, name, _called(function, arguments, step.idempotency_key))
        return await self.record_step(step, result)

    def section(self, title: str, *, checkpoint: bool = False) -> Section:
        """Return a section of a report, for `async with run.section(title):`.

        With `checkpoint` its end is recorded like a step: a later attempt emits nothing of it again, and its
        `section.done` is true."""
        return Section(self, title, checkpoint=checkpoint)

    def tool(self, name: str, arguments: Any = None, *, checkpoint: bool = False) -> ToolCall:
        """Return a tool call to show, for `async with run.tool(name, arguments) as call:`.

        It emits the start, the arguments, and at the end `call.result` or the exception, which propagates. With
        `checkpoint` the result is recorded like that of a step: a later attempt emits nothing of it again, and has
        `call.done` true and the result in `call.result`."""
        return ToolCall(self, name, arguments, checkpoint=checkpoint)

    async def text(self, text: str, part: int = 0) -> None:
        """Emit the next piece of the answer's text block `part`."""
        await self.emit({"type": "text.delta", "text": text, "part": part})

    async def reasoning(self, text: str, part: int = 0) -> None:
        await self.emit({"type": "reasoning.delta", "text": text, "part": part})

    async def status(self, message: str) -> None:
        """Emit what the agent is doing now, for users to read."""
        await self.emit({"type": "status", "message": message})

    async def data(self, name: str, value: Any) -> None:
        """Emit any JSON for the client: an outline, a table, a source."""
        await self.emit({"type": "data", "name": name, "value": value})

    async def section_started(self, title: str, index: int) -> None:
        await self.emit({"type": "section.started", "title": title, "index": index})

    async def section_ended(self, title: str, index: int) -> None:
        await self.emit({"type": "section.ended", "title": title, "index": index})

    async def tool_started(self, call_id: str, name: str) -> None:
        await self.emit({"type": "tool.started", "call_id": call_id, "name": name})

    async def tool_arguments(self, call_id: str, delta: str) -> None:
        """Emit the next piece of the streamed JSON of the arguments."""
        await self.emit({"type": "tool.arguments.delta", "call_id": call_id, "delta": delta})

    async def tool_called(self, call_id: str, name: str, arguments: Any) -> None:
        """Emit the complete, parsed arguments."""
        await self.emit({"type": "tool.called", "call_id": call_id, "name": name, "arguments": arguments})

    async def tool_result(self, call_id: str, result: Any) -> None:
        """Emit the result of a tool. Above 64 KiB the log gets its beginning, and `truncated`."""
        await self.emit({"type": "tool.result", "call_id": call_id, **_bounded("result", result)})

    async def tool_failed(self, call_id: str, error: Any) -> None:
        await self.emit({"type": "tool.failed", "call_id": call_id, **_bounded("error", error)})

    async def usage(self, input_tokens: int, output_tokens: int, model: str) -> None:
        """Emit the usage of one model call. The job's usage is the sum."""
        await self.emit({"type": "usage", "input_tokens": input_tokens, "output_tokens": output_tokens, "model": model})

    async def fallback(self, reason: str, to: str) -> None:
        """Emit that something failed, and what is used instead."""
        await self.emit({"type": "fallback", "reason": reason, "to": to})

    async def emit(self, event: dict[str, Any]) -> None:
        """Emit an event of any type that is not reserved for Holdfast. Waits while the writer's buffer is full.

        Raises EventInvalid when it is malformed or above 256 KiB, RunEnded when the job has ended.
        """
        kind = _check(event)
        if kind in _NEVER_EMPTY and not event[_NEVER_EMPTY[kind]]:
            return
        await self._put(event)
        if kind == "text.delta":
            self._state.has_text = True

    async def flush(self) -> None:
        """Wait until all events emitted so far are in the log."""
        await self._sink().flush()

    # Called by spans and by the worker.

    async def open_step(self, name: str, arguments: Any) -> Step:
        """Open the next step of this name with these arguments."""
        return await self._journal().step(name, arguments, self._name)

    async def record_step(self, step: Step, result: Any) -> Any:
        """Record the result of a step. Returns it as a later attempt gets it."""
        return await self._journal().record(step, result)

    async def next_number(self, kind: str, name: str) -> Any:
        """Number a section or tool call. One that an earlier attempt has started keeps its number."""
        step, journal = current_step(), self._state.journal
        if step is not None and step.is_repeated:
            return self._state.numbers.first(kind)
        kept = None if journal is None else await journal.kept_number(self._name, kind, name)
        return self._state.numbers.take(kind) if kept is None else kept

    def cancel(self) -> None:
        """Mark the run as cancelled."""
        self._state.cancelled = True

    def end(self) -> None:
        """End the run: every later emit raises RunEnded."""
        self._state.sink = self._state.journal = None

    def begin(self, history: list[dict[str, Any]], journal: Journal) -> None:
        """Set what is known only after the claim."""
        self.history = history
        self._state.journal = journal

    def emit_to(self, sink: Sink) -> None:
        """Emit to another sink from now on, unless the job has ended."""
        if self._state.sink is not None:
            self._state.sink = sink

    def note(self, kind: str, body: bytes) -> None:
        """Account for an event of an earlier attempt that counts."""
        self._state.has_text |= kind == "text.delta"
        self._state.numbers.keep(kind, body)

    def _sink(self) -> Sink:
        if self._state.sink is None:
            raise RunEnded
        return self._state.sink

    def _journal(self) -> Journal:
        journal = self._state.journal
        if journal is None:
            raise RunEnded
        return journal

    async def _put(self, event: dict[str, Any]) -> None:
        sink, step = self._sink(), current_step()
        if step is None or not step.is_repeated:  # else the log has all events of the step
            await sink.put(event["type"], encode_event(self._whole(event)), step)

    def _whole(self, event: dict[str, Any]) -> dict[str, Any]:
        """Complete an event with the fields that the log requires."""
        whole = {"type": event["type"], "job_id": self.job_id}
        if self._name is not None:
            whole["agent"] = self._name
        whole |= event | {"job_id": self.job_id}
        if event["type"] in _DATED:
            whole["at"] = time.time_ns() // 1_000_000
        return whole


async def _called(function: Callable[..., Any], arguments: tuple[Any, ...], idempotency_key: str) -> Any:
    """Call a step's function; a synchronous one runs in a thread."""
    named = {"idempotency_key": idempotency_key} if takes_key(function) else {}
    if inspect.iscoroutinefunction(function):
        return await function(*arguments, **named)
    result = await asyncio.to_thread(function, *arguments, **named)
    return await result if inspect.isawaitable(result) else result


def takes_key(function: Callable[..., Any]) -> bool:
    try:
        return "idempotency_key" in inspect.signature(function).parameters
    except ValueError:  # a builtin without a signature
        return False


async def _within(timeout_s: float | None, name: str, call: Coroutine[Any, Any, Any]) -> Any:
    limit = asyncio.timeout(timeout_s)
    try:
        async with limit:
            return await call
    except TimeoutError:
        if not limit.expired():
            raise
        raise AgentError("step_timeout", f"{name} did not end within {timeout_s:g} s", retryable=True) from None


def _check(event: dict[str, Any]) -> str:
    """Return the event's type. Raises EventInvalid when it lacks a field that readers of the log require."""
    kind = event.get("type")
    if not isinstance(kind, str):
        raise EventInvalid("type: an event is an object with a type")
    if kind in _ASKING:
        raise EventInvalid(f"{kind}: use run.ask")
    if not _OURS.isdisjoint(event):
        raise EventInvalid(f"{kind}: the fields id, prev and from are Holdfast's own")
    missing = missing_field(kind, event)
    if missing is not None:
        raise EventInvalid(f"{kind} needs {missing}")
    return kind


def _bounded(name: str, value: Any) -> dict[str, Any]:
    """Return the field unchanged, or the beginning of its text when it is too large for the log."""
    whole = value.encode("utf-8", "replace") if isinstance(value, str) else encode(value)
    if len(whole) <= MAX_TOOL_RESULT_BYTES:
        return {name: value}
    return {name: whole[:MAX_TOOL_RESULT_BYTES].decode("utf-8", "ignore"), "truncated": True}
