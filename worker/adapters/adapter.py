"""Code that all framework adapters share: the agent function, and the result of its run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from holdfast.worker.adapters.approval import unsupported
from holdfast.worker.adapters.emitter import FrameworkEmitter, as_text, begin, current, plain
from holdfast.worker.adapters.failures import provider_failure
from holdfast.worker.sdk.registry import AgentFunction, Input
from holdfast.worker.sdk.registry import agent as mark
from holdfast.worker.sdk.run import AgentError, Run

# A result must fit into the terminal event, however many bytes its characters take there.
MAX_RESULT_CHARS = 32_000

ToInput = Callable[[Run], Any]
"""Makes of a run what the framework's object is called with, where the default does not suit."""

AdapterFunction = Callable[[Run, FrameworkEmitter], Awaitable[Any]]
"""Runs the framework's object and emits what it streams. Returns its final output."""


def adapted(
    name: str, run_target: AdapterFunction, *, input: Input | None, warm: Callable[[], object]
) -> AgentFunction:
    """Create an agent of this name that runs `run_target`."""

    async def through_framework(run: Run) -> dict[str, Any]:
        try:
            emitter = begin(run)
            output = await run_target(run, emitter)
            if not output and emitter.unanswered:
                raise unsupported(f"{name} ended with calls that nobody has run: {', '.join(emitter.unanswered)}")
            return outcome(output)
        except AgentError:
            raise
        except Exception as error:
            failure = provider_failure(error)
            if failure is None:
                raise
            raise failure from None

    through_framework.__name__ = name
    return mark(name, input=input, warm=warm)(through_framework)


def outcome(output: Any) -> dict[str, Any]:
    """Return the job's result: `{"text"}` for a text, else `{"output"}`. A long one is cut and marked as
    `truncated`."""
    if isinstance(output, str):
        return {"text": plain(output[:MAX_RESULT_CHARS]), **_cut(output)}
    value = plain(output)
    text = as_text(value)
    return {"output": text[:MAX_RESULT_CHARS], "truncated": True} if _cut(text) else {"output": value}


def current_run() -> Run:
    """Return the run of the current job, for tools of a framework. Raises LookupError outside a job."""
    return current().run


def _cut(text: str) -> dict[str, Any]:
    return {"truncated": True} if len(text) > MAX_RESULT_CHARS else {}
