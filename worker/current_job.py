"""Which job the running code belongs to."""

from __future__ import annotations

import asyncio
import contextvars
import gc
from typing import NamedTuple


class CurrentJob(NamedTuple):
    """The names of a job, as log lines have them."""

    agent: str
    session_id: str
    job_id: str


current_job: contextvars.ContextVar[CurrentJob | None] = contextvars.ContextVar("current job", default=None)


def job_of_task(task: asyncio.Task[object]) -> CurrentJob | None:
    """The job in whose context a task runs. May be called from any thread."""
    if hasattr(task, "get_context"):
        context: contextvars.Context | None = task.get_context()
    else:  # before Python 3.12 a task does not tell its context
        context = next((part for part in gc.get_referents(task) if isinstance(part, contextvars.Context)), None)
    return None if context is None else context.get(current_job)
