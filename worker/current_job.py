"""Which job the running code belongs to."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
from collections.abc import Iterator
from typing import NamedTuple


class CurrentJob(NamedTuple):
    """The names of a job, as log lines have them."""

    agent: str
    session_id: str
    job_id: str


class JobScope:
    """What the contexts of a job's code have in common. Cleared at the job's end: a connection that was opened in one
    of them keeps its context for as long as it lives."""

    __slots__ = ("job",)

    def __init__(self, job: CurrentJob) -> None:
        self.job: CurrentJob | None = job


_scope: contextvars.ContextVar[JobScope | None] = contextvars.ContextVar("job scope", default=None)


@contextlib.contextmanager
def running(job: CurrentJob) -> Iterator[None]:
    """Name the job for the code that runs inside, and for the tasks that it starts, until the block ends."""
    scope = JobScope(job)
    _scope.set(scope)
    try:
        yield
    finally:
        scope.job = None


def tasks_beside(task: asyncio.Task[object]) -> set[asyncio.Task[object]]:
    """The other tasks that run in the context of the same job."""
    job = job_of_task(task)
    if job is None:
        return set()
    return {other for other in asyncio.all_tasks() if other is not task and job_of_task(other) is job}


def job_of_task(task: asyncio.Task[object]) -> CurrentJob | None:
    """The job in whose context a task runs. May be called from any thread."""
    if hasattr(task, "get_context"):
        context: contextvars.Context | None = task.get_context()
    else:  # before Python 3.12 a task does not tell its context
        context = next((part for part in gc.get_referents(task) if isinstance(part, contextvars.Context)), None)
    scope = None if context is None else context.get(_scope)
    return None if scope is None else scope.job
