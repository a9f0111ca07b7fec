"""Watch the event loop from a thread: log what blocks it, and keep the worker's lease meanwhile.

An agent that blocks (`time.sleep`, a synchronous HTTP client, a busy loop) delays every other job of its worker. For
`KEPT_LEASES` leases the thread sends the heartbeats that the loop cannot send, so that the other jobs lose time but no
attempt. After that other workers take over all jobs of the worker.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType

import structlog
from holdfast.shared.background import repeat
from holdfast.worker.attempt.current_job import CurrentJob, job_of_task

TICK_SECONDS = 0.25
BLOCKED_SECONDS = 1.0
KEPT_LEASES = 3
SHOWN_FRAMES = 8
IMPORTING = "the job imports a module: import it before the first job, by @agent(warm=…)"
_IMPORT_SYSTEM = "<frozen importlib._bootstrap>"

log = structlog.get_logger()
_blocks: Counter[str] = Counter()


def blocked_loops() -> dict[str, int]:
    """Return how often each agent has blocked an event loop of this process; "" stands for unknown agents."""
    return dict(_blocks)


class Watchdog:
    """Runs as a task of the loop that it watches. `beat` sends a heartbeat, and is called from a thread."""

    def __init__(self, beat: Callable[[], None], lease_s: float) -> None:
        self._beat = beat
        self._lease_s = lease_s
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._ticked_s = time.monotonic()
        self._reported_s = 0.0

    async def run(self) -> None:
        """Watch until cancelled."""
        try:
            await repeat("watchdog", self._tick)
        finally:
            self._stopped.set()

    async def _tick(self) -> float:
        """Record that the loop runs, for the thread to see. Returns the seconds until the next tick."""
        self._ticked_s = time.monotonic()
        if self._thread is None:
            watching = (asyncio.get_running_loop(), threading.get_ident())
            thread = threading.Thread(target=self._watch, args=watching, daemon=True, name="watchdog")
            thread.start()
            self._thread = thread
        return TICK_SECONDS

    def _watch(self, loop: asyncio.AbstractEventLoop, thread_id: int) -> None:
        woke_s = beat_s = time.monotonic()
        while not self._stopped.wait(TICK_SECONDS):
            slept_s, woke_s = time.monotonic() - woke_s, time.monotonic()
            ticked_s = self._ticked_s
            blocked_s = woke_s - ticked_s
            if blocked_s > BLOCKED_SECONDS and self._reported_s != ticked_s:
                self._reported_s = ticked_s
                report = partial(_report, blocked_s, loop, thread_id, loop_only=slept_s < BLOCKED_SECONDS)
                _try("cannot describe a blocked event loop", report)
            beat_every_s = self._lease_s / 3
            if beat_every_s < blocked_s < KEPT_LEASES * self._lease_s and woke_s - beat_s > beat_every_s:
                beat_s = woke_s
                _try("no heartbeat for a blocked event loop", self._beat)


def _try(trouble: str, function: Callable[[], None]) -> None:
    """Call the function. No error, not even one of logging, may end the thread that keeps the lease."""
    try:
        function()
    except Exception as error:  # noqa: BLE001
        with suppress(Exception):
            log.warning(trouble, error=f"{type(error).__name__}: {error}")


def _report(blocked_s: float, loop: asyncio.AbstractEventLoop, thread_id: int, *, loop_only: bool) -> None:
    """Log which job blocks the loop, and where. `loop_only`: the other threads of the process ran meanwhile. Otherwise
    the process was frozen, or a call in C kept the interpreter's lock; in the latter case a job is still current."""
    task = asyncio.current_task(loop)
    job = None if task is None else job_of_task(task)
    if job is None and not loop_only:
        return
    names = (job or CurrentJob("", "", "")).log_keys()
    _blocks[names["agent"]] += 1
    frame = sys._current_frames().get(thread_id)  # noqa: SLF001 - the documented way to another thread's stack
    walked = traceback.StackSummary.extract(traceback.walk_stack(frame), limit=SHOWN_FRAMES, lookup_lines=False)
    frames = " < ".join(f"{Path(at.filename).name}:{at.lineno} {at.name}" for at in walked)
    hint = {"hint": IMPORTING} if _imports(frame) else {}
    log.warning("event loop is blocked", **names, seconds=round(blocked_s, 1), frames=frames, **hint)


def _imports(frame: FrameType | None) -> bool:
    """Return whether a module is being imported, anywhere on the stack."""
    return any(inner.f_code.co_filename == _IMPORT_SYSTEM for inner, _ in traceback.walk_stack(frame))
