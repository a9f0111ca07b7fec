"""Redis' being away: waited out with a growing pause, and told by one line when it goes and one when it is back."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from shared.errors import LogFull
from shared.redis import RedisError

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0

log = structlog.get_logger()
Answer = TypeVar("Answer")


class Pause:
    """A pause that doubles each time, with jitter, up to a second."""

    def __init__(self) -> None:
        self._next_s = FIRST_PAUSE_S

    async def wait(self) -> None:
        pause_s, self._next_s = self._next_s, min(self._next_s * 2, LONGEST_PAUSE_S)
        await asyncio.sleep(pause_s * random.uniform(0.5, 1))  # noqa: S311 - jitter


class Outage:
    """The state of one server, as those who use it find it."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._away = False

    def began(self, error: RedisError | LogFull) -> None:
        if not self._away:
            self._away = True
            trouble = "redis is full" if isinstance(error, LogFull) else "redis is away"
            log.warning(trouble, server=self._server, error=f"{type(error).__name__}: {error}")

    def ended(self) -> None:
        if self._away:
            self._away = False
            log.info("redis is back", server=self._server)

    async def insist(
        self, call: Callable[[], Awaitable[Answer]], *, unless_full: Callable[[], bool] = lambda: False
    ) -> Answer:
        """Make the call until the server takes it. The call must be one that may be repeated.

        Raises LogFull when the server is full and `unless_full` says that it shall not be waited for."""
        pause = Pause()
        while True:
            try:
                answer = await call()
            except (RedisError, LogFull) as error:
                if isinstance(error, LogFull) and unless_full():
                    raise
                self.began(error)
                await pause.wait()
            else:
                self.ended()
                return answer
