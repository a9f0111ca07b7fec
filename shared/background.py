"""Run background loops that survive errors."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog
from holdfast.shared.redis.errors import RedisError

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0

log = structlog.get_logger()


class Pause:
    """A pause that doubles each time, with jitter, up to `longest_s`."""

    def __init__(self, longest_s: float = LONGEST_PAUSE_S) -> None:
        self._longest_s = longest_s
        self._next_s = min(FIRST_PAUSE_S, longest_s)

    async def wait(self) -> None:
        pause_s, self._next_s = self._next_s, min(self._next_s * 2, self._longest_s)
        await asyncio.sleep(pause_s * random.uniform(0.5, 1))  # noqa: S311 - jitter


class Outage(Protocol):
    """Logs the beginning and the end of a server's outage. `asked_s`: when the call was made, in seconds of the
    monotonic clock."""

    def began(self, error: RedisError, asked_s: float) -> None: ...
    def ended(self, asked_s: float) -> None: ...


async def repeat(
    name: str,
    step: Callable[[], Awaitable[float | None]],
    *,
    outage: Outage | None = None,
    longest_pause_s: float = LONGEST_PAUSE_S,
) -> None:
    """Repeat a step until it returns None or this task is cancelled. Otherwise it returns the seconds until the next
    call.

    An exception does not end the loop, nor does a CancelledError while this task was not cancelled: it is logged, and
    the step is repeated after a growing pause. A RedisError is passed to `outage`, if given, which logs it once. Any
    other error is logged with its traceback, unless it equals the one before."""
    pause, logged = Pause(longest_pause_s), ""
    while True:
        asked_s = time.monotonic()
        try:
            rest_s = await step()
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                raise
            if outage is not None and isinstance(error, RedisError):
                outage.began(error, asked_s)
            elif repr(error) != logged:
                logged = repr(error)
                log.exception("background loop failed; retrying", loop=name)
            await pause.wait()
            continue
        if outage is not None:
            outage.ended(asked_s)
        pause, logged = Pause(longest_pause_s), ""
        if rest_s is None:
            return
        await asyncio.sleep(rest_s)


def _is_cancelled() -> bool:
    """Return whether the current task was cancelled."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
