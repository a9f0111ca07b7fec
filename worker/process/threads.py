"""Run blocking code of jobs in threads: steps, tools and synchronous agents.

Each job has threads of its own, so that a call that never returns delays no other job. `install` makes them asyncio's
default executor too, so that `asyncio.to_thread` in an agent or a framework runs in the job's threads. Tasks of an
agent may outlive its job: their calls continue in threads of their own.
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

from holdfast.worker.sdk.run import AgentError, RunEnded

MAX_THREADS = 16  # of one job; further calls wait until one of them returns
MAX_ABANDONED = 64  # of one agent; further calls fail

Call = tuple[Future[Any], Callable[[], Any]]

_running: defaultdict[str, dict[Future[Any], Pool]] = defaultdict(dict)
_current: contextvars.ContextVar[JobThreads | None] = contextvars.ContextVar("threads of the job", default=None)


class ThreadCount(NamedTuple):
    """Calls of an agent that occupy a thread. `abandoned`: those whose job or step has ended."""

    running: int
    abandoned: int


def thread_counts() -> dict[str, ThreadCount]:
    """Return the threads of this process for each agent that had a job."""
    return {agent: ThreadCount(len(_running[agent]), _abandoned(agent)) for agent in list(_running)}


def install(loop: asyncio.AbstractEventLoop) -> None:
    """Make the threads of the current job the loop's default executor."""
    loop.set_default_executor(JobExecutor())


async def in_thread(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Call the function in a thread of the current job, as `asyncio.to_thread` would.

    Raises AgentError `threads_exhausted` when the agent has too many threads that never returned."""
    threads = _current.get()
    if threads is None:
        return await asyncio.to_thread(function, *arguments, **named)
    call = partial(contextvars.copy_context().run, function, *arguments, **named)
    return await asyncio.wrap_future(threads.submit(call))


class Pool:
    """Up to MAX_THREADS daemon threads, which do not delay the exit of the process.

    `ended`: the job has ended, so that all its remaining calls count as abandoned."""

    def __init__(self, agent: str, *, ended: bool = False) -> None:
        self.ended = ended
        self._agent = agent
        self._running = _running[agent]
        self._lock = threading.Lock()
        self._waiting: deque[Call] = deque()
        self._threads = 0

    def submit(self, call: Callable[[], Any]) -> Future[Any]:
        """Run the call in a thread. The future fails when the process cannot start one. Raises AgentError."""
        _check(self._agent)
        future: Future[Any] = Future()
        self._start((future, call))
        return future

    def successor(self) -> Pool:
        """Mark the job as ended. Returns a pool for calls that outlive it, with those that have not started."""
        self.ended = True
        pool = Pool(self._agent, ended=True)
        with self._lock:
            waiting, self._waiting = self._waiting, deque()
        for call in waiting:
            if not call[0].cancelled():
                pool._start(call)
        return pool

    def _start(self, call: Call) -> None:
        with self._lock:
            self._waiting.append(call)
            starts = self._threads < MAX_THREADS
            self._threads += starts
        if not starts:
            return
        try:
            threading.Thread(target=self._work, daemon=True, name=f"job of {self._agent}").start()
        except RuntimeError as error:  # the system has no thread left
            self._fail(call, error)

    def _fail(self, call: Call, error: RuntimeError) -> None:
        """Handle that no thread could be started for a call. It fails unless another thread has taken it."""
        with self._lock:
            self._threads -= 1
            if call not in self._waiting:
                return
            self._waiting.remove(call)
        with suppress(InvalidStateError):  # cancelled meanwhile
            call[0].set_exception(error)

    def _work(self) -> None:
        while (waiting := self._next()) is not None:
            future, call = waiting
            if not future.cancelled():
                self._running[future] = self
                set_outcome = _outcome(future, call)
                del self._running[future]
                with suppress(InvalidStateError):  # cancelled meanwhile
                    set_outcome()

    def _next(self) -> Call | None:
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._threads -= 1
            return None


class JobThreads:
    """The threads of one job, and of tasks started in it that outlive it, such as the credential refresh of a shared
    client."""

    def __init__(self, agent: str) -> None:
        self._pool = Pool(agent)
        self._own: set[Future[Any]] = set()

    def enter(self) -> None:
        """Let the current task, and the tasks that it starts, use these threads."""
        _current.set(self)

    def submit(self, call: Callable[[], Any]) -> Future[Any]:
        """Run a call that ends with the job in a thread. Raises AgentError, and RunEnded once the job has ended."""
        if self._pool.ended:
            raise RunEnded
        future = self._pool.submit(call)
        self._own.add(future)
        future.add_done_callback(self._own.discard)
        return future

    def submit_detached(self, call: Callable[[], Any]) -> Future[Any]:
        """Run a call that may outlive the job in a thread. Raises AgentError."""
        return self._pool.submit(call)

    def end(self) -> None:
        """Cancel the calls that end with the job. Blocked threads do not delay the calls that outlive it."""
        for future in list(self._own):
            future.cancel()
        self._pool = self._pool.successor()


class JobExecutor(ThreadPoolExecutor):
    """Runs each call in the threads of the current job, or without one in threads of its own."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        threads = _current.get()
        if threads is None:
            return super().submit(fn, *args, **kwargs)
        return threads.submit_detached(partial(fn, *args, **kwargs))


def _abandoned(agent: str) -> int:
    return sum(pool.ended or future.cancelled() for future, pool in list(_running[agent].items()))


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
    except StopIteration as error:  # a future refuses it
        return partial(future.set_exception, RuntimeError(f"the call raised {error!r}"))
    except BaseException as error:  # noqa: BLE001 - raised again at the call
        return partial(future.set_exception, error)
