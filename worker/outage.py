"""Redis' being away: waited out with a growing pause, and told by one line when it goes and one when it is back."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from shared.background import Pause
from shared.errors import LogFull, RedisRefused
from shared.redis import RedisError, is_lasting

log = structlog.get_logger()
Answer = TypeVar("Answer")


class Outage:
    """The state of one server, from the outcomes of all calls to it. A call that was made before the state last changed
    is ignored: its outcome may be older than the change. `asked_s`: when a call was made, by the monotonic clock."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._away = False
        self._changed_s = -math.inf
        self._refusal = ""

    def began(self, error: RedisError | LogFull, asked_s: float = math.inf) -> None:
        """Take note of a call that failed. One that was refused for good is logged once, and no outage."""
        if isinstance(error, RedisError) and is_lasting(error):
            if str(error) != self._refusal:
                self._refusal = str(error)
                log.error("redis refuses a call", server=self._server, error=f"{type(error).__name__}: {error}")
        elif not self._away and asked_s >= self._changed_s:
            self._change(away=True)
            trouble = "redis is full" if isinstance(error, LogFull) else "redis is away"
            log.warning(trouble, server=self._server, error=f"{type(error).__name__}: {error}")

    def ended(self, asked_s: float = math.inf) -> None:
        """Take note of a call that was answered."""
        if self._away and asked_s >= self._changed_s:
            self._change(away=False)
            log.info("redis is back", server=self._server)

    def _change(self, *, away: bool) -> None:
        self._away, self._changed_s = away, time.monotonic()

    async def insist(
        self, call: Callable[[], Awaitable[Answer]], *, unless_full: Callable[[], bool] = lambda: False
    ) -> Answer:
        """Make the call until the server takes it. The call must be one that may be repeated.

        Raises RedisRefused when repeating it does not help, and LogFull when the server is full and `unless_full` says
        that it shall not be waited for."""
        pause = Pause()
        while True:
            asked_s = time.monotonic()
            try:
                answer = await call()
            except (RedisError, LogFull) as error:
                if isinstance(error, LogFull) and unless_full():
                    raise
                if isinstance(error, RedisError) and is_lasting(error):
                    raise RedisRefused(f"{type(error).__name__}: {error}") from error
                self.began(error, asked_s)
                await pause.wait()
            else:
                self.ended(asked_s)
                return answer
