"""The interface of synchronous agents."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

from holdfast.worker.sdk.run import Run, takes_key
from holdfast.worker.sdk.spans import Section, Span, ToolCall

SpanType = TypeVar("SpanType", bound=Span)


class ThreadRun:
    """The Run of a synchronous agent: the same methods, each of which blocks the agent's thread until it completes."""

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
        """Run.step for synchronous agents. The function runs in the agent's thread, where it cannot time out."""
        step = self._wait(self._run.open_step(name, arguments))
        if step.done:
            return step.result
        named = {"idempotency_key": step.idempotency_key} if takes_key(function) else {}
        with step.entered():
            result = function(*arguments, **named)
        return self._wait(self._run.record_step(step, result))

    def _blocking(self, method: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments, **named: self._wait(method(*arguments, **named))

    def _wait(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    @contextmanager
    def _within(self, span: SpanType) -> Iterator[SpanType]:
        """Enter the span in the event loop, and its step in the agent's thread too, since threads do not share
        contexts."""
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
