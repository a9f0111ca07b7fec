"""Threads for blocking code of jobs: steps, tools and synchronous agents.

Each job has threads of its own, so a call that never returns delays no other job. `install` makes them the default
executor of asyncio, too: `asyncio.to_thread` in an agent, and the frameworks that use it, run in the job's threads.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import defaultdict, deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from worker.run import AgentError, RunEnded

MAX_THREADS = 16  # of one job; further calls wait until one of them returns
MAX_ABANDONED = 64  # of one agent; further calls fail

_running: defaultdict[str, set[Future[Any]]] = defaultdict(set)
_current: contextvars.ContextVar[JobThreads | None] = contextvars.ContextVar("threads of the job", default=None)


class ThreadCount(NamedTuple):
    """Calls of an agent that occupy a thread. Nothing waits any more for the `abandoned` ones among them."""

    running: int
    abandoned: int


def thread_counts() -> dict[str, ThreadCount]:
    """The threads of this process, for each agent that had a job."""
    return {agent: ThreadCount(len(_running[agent]), _abandoned(agent)) for agent in list(_running)}


def install(loop: asyncio.AbstractEventLoop) -> None:
    """Let everything on this loop that leaves its thread to asyncio use the threads of its job."""
    loop.set_default_executor(JobExecutor())


async def in_thread(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Call the function in a thread of the current job, as `asyncio.to_thread` would. Raises AgentError
    `threads_exhausted` when the agent has too many threads that never returned."""
    threads = _current.get()
    if threads is None:
        return await asyncio.to_thread(function, *arguments, **named)
    call = partial(contextvars.copy_context().run, function, *arguments, **named)
    return await asyncio.wrap_future(threads.submit(call))


class JobThreads:
    """The threads of one job. They are daemons: one that never returns does not hold up the end of the process."""

    def __init__(self, agent: str) -> None:
        self._agent = agent
        self._running = _running[agent]
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._threads = 0
        self._calls: set[Future[Any]] = set()
        self._ended = False

    def enter(self) -> None:
        """From now on the current task, and those that it starts, use these threads."""
        _current.set(self)

    def submit(self, call: Callable[[], Any]) -> Future[Any]:
        """Run the call in a thread. Raises AgentError, and RunEnded once the job has ended."""
        if self._ended:
            raise RunEnded
        _check(self._agent)
        future: Future[Any] = Future()
        with self._lock:
            self._calls.add(future)
            self._waiting.append((future, call))
            starts = self._threads < MAX_THREADS
            self._threads += starts
        if starts:
            threading.Thread(target=self._work, daemon=True, name=f"job of {self._agent}").start()
        return future

    def end(self) -> None:
        """Wait for none of the calls any more. Those that have not begun never do."""
        self._ended = True
        for future in list(self._calls):
            future.cancel()

    def _work(self) -> None:
        while (job := self._next()) is not None:
            future, call = job
            if not future.cancelled():
                self._running.add(future)
                set_outcome = _outcome(future, call)
                self._running.discard(future)
                with suppress(InvalidStateError):  # cancelled meanwhile
                    set_outcome()
            self._calls.discard(future)

    def _next(self) -> tuple[Future[Any], Callable[[], Any]] | None:
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._threads -= 1
            return None


class JobExecutor(ThreadPoolExecutor):
    """Runs each call in the threads of the job that makes it; what no job calls, in threads of its own."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        threads = _current.get()
        return super().submit(fn, *args, **kwargs) if threads is None else threads.submit(partial(fn, *args, **kwargs))


def _abandoned(agent: str) -> int:
    return sum(future.cancelled() for future in list(_running[agent]))


def _check(agent: str) -> None:
    if len(_running[agent]) >= MAX_ABANDONED and (count := _abandoned(agent)) >= MAX_ABANDONED:
        raise AgentError(
            "threads_exhausted",
            f"{count} calls of the agent {agent!r} are still running though their job or step has ended: give what "
            "blocks a timeout of its own, and restart the worker",
            retryable=True,
        )


def _outcome(future: Future[Any], call: Callable[[], Any]) -> Callable[[], None]:
    try:
        return partial(future.set_result, call())
    except StopIteration as error:  # no future takes it
        return partial(future.set_exception, RuntimeError(f"the call raised {error!r}"))
    except BaseException as error:  # noqa: BLE001 - it is raised again where the call was made
        return partial(future.set_exception, error)
