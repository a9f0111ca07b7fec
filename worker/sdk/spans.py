"""Sections and tool calls: spans that an agent enters with `async with`, and their numbers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import orjson
from holdfast.worker.attempt.journal import Step
from holdfast.worker.process.redaction import without_keys

if TYPE_CHECKING:
    from holdfast.worker.sdk.run import Run

SECTION = "section.started"
TOOL = "tool.started"

# The events that start a numbered item: the field with its name, and the field with its number.
NUMBERED = {SECTION: ("title", "index"), TOOL: ("name", "call_id")}

_FORMS: dict[str, Callable[[int], Any]] = {SECTION: int, TOOL: "call-{}".format}


class Span:
    """A section or tool call. With `checkpoint` its end is recorded like that of a step.

    `done`: an earlier attempt recorded it, so that the log has all its events and nothing in it is emitted again."""

    def __init__(self, run: Run, kind: str, name: str, arguments: Any, *, checkpoint: bool) -> None:
        self._run = run
        self._kind = kind
        self._name = name
        self._arguments = arguments
        self._checkpoint = checkpoint
        self.step: Step | None = None

    @property
    def done(self) -> bool:
        return self.step is not None and self.step.done

    async def __aenter__(self) -> Self:
        if self._checkpoint:
            self.step = await self._run.open_step(f"{self._kind} {self._name}", self._arguments)
            self.step.enter()
        await self._begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._end(error)
        finally:
            if self.step is not None:
                self.step.leave()
        if self.step is not None and error is None and not self.done:
            await self._run.record_step(self.step, self._outcome())

    async def _begin(self) -> None:
        raise NotImplementedError

    async def _end(self, error: BaseException | None) -> None:
        raise NotImplementedError

    def _outcome(self) -> Any:
        return None


class Section(Span):
    """A section of a report, with all events emitted inside."""

    def __init__(self, run: Run, title: str, *, checkpoint: bool) -> None:
        super().__init__(run, "section", title, [], checkpoint=checkpoint)
        self._index = 0

    async def _begin(self) -> None:
        self._index = await self._run.next_number(SECTION, self._name)
        await self._run.section_started(self._name, self._index)

    async def _end(self, error: BaseException | None) -> None:
        if error is None:
            await self._run.section_ended(self._name, self._index)


class ToolCall(Span):
    """A tool call that an agent shows. The agent sets `result`; when the call is `done`, it is set already."""

    def __init__(self, run: Run, name: str, arguments: Any, *, checkpoint: bool) -> None:
        super().__init__(run, "tool", name, {} if arguments is None else arguments, checkpoint=checkpoint)
        self.call_id = ""
        self.result: Any = None

    async def _begin(self) -> None:
        self.call_id = await self._run.next_number(TOOL, self._name)
        await self._run.tool_started(self.call_id, self._name)
        await self._run.tool_called(self.call_id, self._name, self._arguments)
        self._find_result()

    async def _end(self, error: BaseException | None) -> None:
        self._find_result()
        if error is None:
            await self._run.tool_result(self.call_id, self.result)
        elif isinstance(error, Exception):
            await self._run.tool_failed(self.call_id, without_keys(f"{type(error).__name__}: {error}"))

    def _find_result(self) -> None:
        if self.step is not None and self.step.done:
            self.result = self.step.result

    def _outcome(self) -> Any:
        return self.result


class Numbers:
    """Assigns each section and tool call the lowest free number."""

    def __init__(self) -> None:
        self._taken: defaultdict[str, set[Any]] = defaultdict(set)
        self._next: defaultdict[str, int] = defaultdict(int)

    def take(self, kind: str) -> Any:
        """Assign a number to the item that an event of this kind starts."""
        number = self.first(kind)
        self._taken[kind].add(number)
        return number

    def first(self, kind: str) -> Any:
        """Return the number that `take` would assign."""
        form, taken = _FORMS[kind], self._taken[kind]
        while form(self._next[kind]) in taken:
            self._next[kind] += 1
        return form(self._next[kind])

    def keep(self, kind: str, body: bytes) -> None:
        """Reserve the number of an event of an earlier attempt, if it has one."""
        if kind in NUMBERED:
            self._taken[kind].add(orjson.loads(body).get(NUMBERED[kind][1]))
