"""What an agent is given: its input, and the methods by which it speaks. A malformed event is an error in the agent."""

from __future__ import annotations

import asyncio
import copy
import inspect
import itertools
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from typing import Any, Protocol

from shared.errors import EventInvalid, HoldfastError
from shared.events import encode, encode_event
from shared.json_schema import check_schema
from worker.journal import Journal
from worker.redaction import without_keys

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
    "fallback": {"reason": str, "to": str},
    "usage": {"input_tokens": int, "output_tokens": int, "model": str},
}
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
    """The job has ended, or this attempt may not go on: nothing more can be emitted."""

    code = "run_ended"
    title = "The run has ended: nothing more can be emitted"


class Sink(Protocol):
    """Where a run's events go."""

    async def put(self, kind: str, body: bytes) -> None: ...
    async def flush(self) -> None: ...


class Voice:
    """What a run and its sub-agents have in common: where they speak, until the job ends."""

    def __init__(self, sink: Sink, journal: Journal | None) -> None:
        self.sink: Sink | None = sink
        self.journal = journal
        self.cancelled = False
        self.used: dict[str, Any] | None = None
        self.has_text = False
        self.sections = itertools.count()
        self.calls = itertools.count()


class ToolCall:
    """A tool call that an agent shows: inside `async with run.tool(…) as call`, `call.result` is what it came to."""

    def __init__(self, call_id: str) -> None:
        self.call_id = call_id
        self.result: Any = None


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
    def used(self) -> dict[str, Any] | None:
        """The sum of what `usage` was told."""
        return self._voice.used

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
        step = self._journal().step(name, arguments)
        if step.done:
            return step.result
        return await step.record(await _within(timeout_s, name, _called(function, arguments, step.idempotency_key)))

    @asynccontextmanager
    async def section(self, title: str) -> AsyncIterator[None]:
        """A part of a report: what is said inside belongs to it."""
        index = next(self._voice.sections)
        await self.section_started(title, index)
        yield
        await self.section_ended(title, index)

    @asynccontextmanager
    async def tool(self, name: str, arguments: Any = None) -> AsyncIterator[ToolCall]:
        """Show a tool call: started, called with the arguments, and `call.result`, or the failure, which goes on."""
        call = ToolCall(f"call-{next(self._voice.calls)}")
        await self.tool_started(call.call_id, name)
        await self.tool_called(call.call_id, name, {} if arguments is None else arguments)
        try:
            yield call
        except Exception as error:
            await self.tool_failed(call.call_id, without_keys(f"{type(error).__name__}: {error}"))
            raise
        await self.tool_result(call.call_id, call.result)

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
        elif kind == "usage":
            self._add_usage(event)

    async def flush(self) -> None:
        """Wait until everything emitted so far is in the log."""
        await self._sink().flush()

    def cancel(self) -> None:
        """Tell the agent that it is to stop. Called by the worker."""
        self._voice.cancelled = True

    def end(self) -> None:
        """From now on an emit raises. Called by the worker."""
        self._voice.sink = self._voice.journal = None

    def begin(self, history: list[dict[str, Any]], journal: Journal) -> None:
        """What is known only once the session is held. Called by the worker."""
        self.history = history
        self._voice.journal = journal

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
        await self._sink().put(event["type"], encode_event(self._whole(event)))

    def _whole(self, event: dict[str, Any]) -> dict[str, Any]:
        """The event as the log has it."""
        whole = {"type": event["type"], "job_id": self.job_id}
        if self._name is not None:
            whole["agent"] = self._name
        whole |= event | {"job_id": self.job_id}
        if event["type"] in _DATED:
            whole["at"] = time.time_ns() // 1_000_000
        return whole

    def _add_usage(self, event: dict[str, Any]) -> None:
        used = self.used or {"input_tokens": 0, "output_tokens": 0}
        self._voice.used = {
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
        return self._blocking(value) if inspect.iscoroutinefunction(value) else value

    def agent(self, name: str) -> ThreadRun:
        return ThreadRun(self._run.agent(name), self._loop)

    def section(self, title: str) -> AbstractContextManager[None]:
        return self._within(self._run.section(title))

    def tool(self, name: str, arguments: Any = None) -> AbstractContextManager[ToolCall]:
        return self._within(self._run.tool(name, arguments))

    def step(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """As Run.step; the function runs in the agent's thread, where nothing can cut it short."""
        step = self._run._journal().step(name, arguments)  # noqa: SLF001 - the other face of the same run
        if step.done:
            return step.result
        named = {"idempotency_key": step.idempotency_key} if _takes_key(function) else {}
        return self._wait(step.record(function(*arguments, **named)))

    def _blocking(self, method: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments, **named: self._wait(method(*arguments, **named))

    def _wait(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    @contextmanager
    def _within(self, manager: Any) -> Iterator[Any]:
        value = self._wait(manager.__aenter__())
        try:
            yield value
        except BaseException as error:
            if not self._wait(manager.__aexit__(type(error), error, error.__traceback__)):
                raise
        else:
            self._wait(manager.__aexit__(None, None, None))


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
    for name, wanted in _REQUIRED.get(kind, {}).items():
        value = event.get(name)
        if name not in event or not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
            expected = "" if wanted is object else f" ({wanted.__name__})"
            raise EventInvalid(f"{kind} needs {name}{expected}")
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
