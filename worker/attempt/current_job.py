"""Find the job that the running code belongs to."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
from collections.abc import Iterator
from typing import Any, NamedTuple

from holdfast.shared.trace_context import trace_keys


class CurrentJob(NamedTuple):
    """The identity of a job and of the attempt at it. `traceparent`: of the attempt's span."""

    agent: str
    session_id: str
    job_id: str
    attempt: int = 0
    traceparent: str = ""

    def log_keys(self) -> dict[str, Any]:
        """Return the fields of its log lines."""
        keys = {"agent": self.agent, "session_id": self.session_id, "job_id": self.job_id, "attempt": self.attempt}
        return keys | trace_keys(self.traceparent)


class JobScope:
    """The value that all contexts of a job's code share. Cleared at the job's end, since a connection opened in one of
    them keeps its context alive."""

    __slots__ = ("job",)

    def __init__(self, job: CurrentJob) -> None:
        self.job: CurrentJob | None = job


_scope: contextvars.ContextVar[JobScope | None] = contextvars.ContextVar("job scope", default=None)


@contextlib.contextmanager
def running(job: CurrentJob) -> Iterator[None]:
    """Set the current job for the code in the block, and for the tasks that it starts, until the block ends."""
    scope = JobScope(job)
    _scope.set(scope)
    try:
        yield
    finally:
        scope.job = None


def current_job() -> CurrentJob | None:
    """Return the job in whose context the caller runs."""
    scope = _scope.get()
    return None if scope is None else scope.job


def job_keys() -> dict[str, Any]:
    """Return the fields of a log line that name the current job; none without one."""
    job = current_job()
    return {} if job is None else job.log_keys()


def tasks_beside(task: asyncio.Task[object]) -> set[asyncio.Task[object]]:
    """Return the other tasks that run in the context of the same job."""
    job = job_of_task(task)
    if job is None:
        return set()
    return {other for other in asyncio.all_tasks() if other is not task and job_of_task(other) is job}


def job_of_task(task: asyncio.Task[object]) -> CurrentJob | None:
    """Return the job in whose context a task runs. Callable from any thread."""
    if hasattr(task, "get_context"):
        context: contextvars.Context | None = task.get_context()
    else:  # Python 3.11 has no Task.get_context
        context = next((part for part in gc.get_referents(task) if isinstance(part, contextvars.Context)), None)
    scope = None if context is None else context.get(_scope)
    return None if scope is None else scope.job
