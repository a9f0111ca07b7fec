"""What an agent is given: its input, and the methods by which it speaks. A malformed event is an error in the agent."""

from __future__ import annotations

import asyncio
import copy
import inspect
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, TypeVar

from holdfast.shared.errors import EventInvalid, HoldfastError
from holdfast.shared.events import encode, encode_event, missing_field
from holdfast.shared.json_schema import check_schema
from holdfast.worker.journal import Journal, Step, current_step
from holdfast.worker.numbers import Numbers
from holdfast.worker.spans import Section, Span, ToolCall

# A larger result of a tool is cut in the log; the agent has it whole.
MAX_TOOL_RESULT_BYTES = 64 * 1024

_NEVER_EMPTY = {"text.delta": "text", "reasoning.delta": "text", "tool.arguments.delta": "delta"}
_OURS = frozenset({"id", "prev", "from"})
_ASKING = frozenset({"question.asked", "question.answered"})
_DATED = ("tool.started", "tool.called", "tool.result", "tool.failed", "status")


SpanType = TypeVar("SpanType", bound=Span)


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

    async def put(self, kind: str, body: bytes, step: Step | None = None) -> None: ...
    async def flush(self) -> None: ...


class Voice:
    """What a run and its sub-agents have in common: where they speak, until the job ends."""

    def __init__(self, sink: Sink, journal: Journal | None) -> None:
        self.sink: Sink | None = sink
        self.journal = journal
        self.cancelled = False
        self.has_text = False
        self.numbers = Numbers()


class Run:
    """One attempt at a job, as its agent sees it.

    `input` is a text or an object; `history` is the conversation before this job, as messages
    `{"role": "user" | "assistant" | "tool", "content": str, …}`.
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
    ) -> None:
        self.session_id = session_id
        self.job_id = job_id
        self.attempt = attempt
        self.input = input
        self.options = options
        self.metadata = metadata
        self.history = history
        self._voice = Voice(sink, journal)
        self._name: str | None = None

    @property
    def cancelled(self) -> bool:
        """Whether the job is to stop."""
        return self._voice.cancelled

    @property
    def has_text(self) -> bool:
        """Whether any text of the answer was emitted, by this agent or a sub-agent."""
        return self._voice.has_text

    def agent(self, name: str) -> Run:
        """The same run for a sub-agent, whose events carry its name. Several may speak side by side."""
        named = copy.copy(self)
        named._name = name  # noqa: SLF001 - a Run of our own making
        return named

    async def ask(self, prompt: str, schema: dict[str, Any] | None = None) -> Any:
        """Ask a person, and wait for the answer for as long as the deployment allows.

        The wait takes no slot of the worker and outlives it: the agent is then run again, gets the answer here, and
        finds the steps that it had recorded done. `schema` is a JSON schema that the answer has to satisfy. Raises
        EventInvalid when it is none."""
        _check_question(schema or {})
        question = self._whole({"type": "question.asked", "prompt": prompt, "schema": schema or {}})
        question_id, value = await self._journal().ask(question)
        await self._put({"type": "question.answered", "question_id": question_id, "value": value})
        return value

    async def step(
        self, name: str, function: Callable[..., Any], *arguments: Any, timeout_s: float | None = None
    ) -> Any:
        """Run `function(*arguments)` once, over all attempts, and return its result, which must be JSON.

        One that was cut before its result was recorded runs again, so a function that takes `idempotency_key` is given
        one that stays the same. Raises AgentError `step_timeout` when it takes longer than `timeout_s`."""
        step = await self.open_step(name, arguments)
        if step.done:
            return step.result
        with step.entered():
            result = await _within(timeout_s, name, _called(function, arguments, step.idempotency_key))
        return await self.record_step(step, result)

    def section(self, title: str, *, checkpoint: bool = False) -> Section:
        """A part of a report, as `async with run.section(title):`. With `checkpoint` its end is recorded like a step: a
        later attempt emits nothing of it again, and `section.done` is true there."""
        return Section(self, title, checkpoint=checkpoint)

    def tool(self, name: str, arguments: Any = None, *, checkpoint: bool = False) -> ToolCall:
        """Show a tool call, as `async with run.tool(name, arguments) as call:`: started, called with the arguments, and
        `call.result`, or the failure, which goes on. With `checkpoint` its result is recorded like a step's: a later
        attempt emits nothing of it again, and finds `call.done` true and the result in `call.result`."""
        return ToolCall(self, name, arguments, checkpoint=checkpoint)

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

    async def fallback(self, reason: str, to: str) -> None:
        """Say that something failed, and what takes over."""
        await self.emit({"type": "fallback", "reason": reason, "to": to})

    async def emit(self, event: dict[str, Any]) -> None:
        """Append an event of any type but Holdfast's own. Waits while Redis is slow and too much is waiting for it.

        Raises EventInvalid when it is malformed or above 256 KiB, RunEnded when the job has ended.
        """
        kind = _check(event)
        if kind in _NEVER_EMPTY and not event[_NEVER_EMPTY[kind]]:
            return
        await self._put(event)
        if kind == "text.delta":
            self._voice.has_text = True

    async def flush(self) -> None:
        """Wait until everything emitted so far is in the log."""
        await self._sink().flush()

    # Called by spans and by the worker.

    async def open_step(self, name: str, arguments: Any) -> Step:
        """The next step of this name with these arguments."""
        return await self._journal().step(name, arguments, self._name)

    async def record_step(self, step: Step, result: Any) -> Any:
        """Record what a step came to. Returns it as a later attempt would see it."""
        return await self._journal().record(step, result)

    async def next_number(self, kind: str, name: str) -> Any:
        """The number of a section or tool call that begins. One that an earlier attempt has begun keeps its number."""
        step, journal = current_step(), self._voice.journal
        if step is not None and step.is_repeated:
            return self._voice.numbers.first(kind)
        kept = None if journal is None else await journal.kept_number(self._name, kind, name)
        return self._voice.numbers.take(kind) if kept is None else kept

    def cancel(self) -> None:
        """Tell the agent that it is to stop."""
        self._voice.cancelled = True

    def end(self) -> None:
        """From now on an emit raises."""
        self._voice.sink = self._voice.journal = None

    def begin(self, history: list[dict[str, Any]], journal: Journal) -> None:
        """What is known only once the session is held."""
        self.history = history
        self._voice.journal = journal

    def emit_to(self, sink: Sink) -> None:
        """Emit to another sink from now on, unless the job has ended."""
        if self._voice.sink is not None:
            self._voice.sink = sink

    def note(self, kind: str, body: bytes) -> None:
        """Take note of an event that counts though it was emitted by an earlier attempt."""
        self._voice.has_text |= kind == "text.delta"
        self._voice.numbers.keep(kind, body)

    def _sink(self) -> Sink:
        if self._voice.sink is None:
            raise RunEnded
        return self._voice.sink

    def _journal(self) -> Journal:
        journal = self._voice.journal
        if journal is None:
            raise RunEnded
        return journal

    async def _put(self, event: dict[str, Any]) -> None:
        sink, step = self._sink(), current_step()
        if step is None or not step.is_repeated:  # else the log has all that the step emits
            await sink.put(event["type"], encode_event(self._whole(event)), step)

    def _whole(self, event: dict[str, Any]) -> dict[str, Any]:
        """The event as the log has it."""
        whole = {"type": event["type"], "job_id": self.job_id}
        if self._name is not None:
            whole["agent"] = self._name
        whole |= event | {"job_id": self.job_id}
        if event["type"] in _DATED:
            whole["at"] = time.time_ns() // 1_000_000
        return whole


class ThreadRun:
    """The Run of a synchronous agent: the same methods, each of which blocks the agent's thread until it is done."""

    def __init__(self, run: Run, loop: asyncio.AbstractEventLoop) -> None:
        self._run = run
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._run, name)
        return self._blocking(value) if inspect.iscoroutinefunction(value) else value

    def agent(self, name: str) -> ThreadRun:
        return ThreadRun(self._run.agent(name), self._loop)

    def section(self, title: str, *, checkpoint: bool = False) -> AbstractContextManager[Section]:
        return self._within(self._run.section(title, checkpoint=checkpoint))

    def tool(self, name: str, arguments: Any = None, *, checkpoint: bool = False) -> AbstractContextManager[ToolCall]:
        return self._within(self._run.tool(name, arguments, checkpoint=checkpoint))

    def step(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """As Run.step; the function runs in the agent's thread, where nothing can cut it short."""
        step = self._wait(self._run.open_step(name, arguments))
        if step.done:
            return step.result
        named = {"idempotency_key": step.idempotency_key} if _takes_key(function) else {}
        with step.entered():
            result = function(*arguments, **named)
        return self._wait(self._run.record_step(step, result))

    def _blocking(self, method: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments, **named: self._wait(method(*arguments, **named))

    def _wait(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    @contextmanager
    def _within(self, span: SpanType) -> Iterator[SpanType]:
        """Enter the span in the loop, and its step in the agent's thread as well: contexts are not shared."""
        self._wait(span.__aenter__())
        if span.step is not None:
            span.step.enter()
        try:
            yield span
        except BaseException as error:
            self._wait(span.__aexit__(type(error), error, error.__traceback__))
            raise
        else:
            self._wait(span.__aexit__(None, None, None))
        finally:
            if span.step is not None:
                span.step.leave()


async def _called(function: Callable[..., Any], arguments: tuple[Any, ...], idempotency_key: str) -> Any:
    """Call a step's function; a synchronous one in a thread."""
    named = {"idempotency_key": idempotency_key} if _takes_key(function) else {}
    if inspect.iscoroutinefunction(function):
        return await function(*arguments, **named)
    result = await asyncio.to_thread(function, *arguments, **named)
    return await result if inspect.isawaitable(result) else result


def _takes_key(function: Callable[..., Any]) -> bool:
    try:
        return "idempotency_key" in inspect.signature(function).parameters
    except ValueError:  # a builtin that does not tell
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
    """The event's type. Raises EventInvalid when it lacks what readers of the log rely on."""
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


def _check_question(schema: dict[str, Any]) -> None:
    try:
        check_schema(schema)
    except ValueError as error:
        raise EventInvalid(f"question.asked needs a JSON schema: {error}") from None


def _bounded(name: str, value: Any) -> dict[str, Any]:
    """The field as it is, or its beginning as text when it is too large for the log."""
    whole = value.encode("utf-8", "replace") if isinstance(value, str) else encode(value)
    if len(whole) <= MAX_TOOL_RESULT_BYTES:
        return {name: value}
    return {name: whole[:MAX_TOOL_RESULT_BYTES].decode("utf-8", "ignore"), "truncated": True}
