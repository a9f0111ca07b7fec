"""Redis' being away: waited out with a growing pause, and told by one line when it goes and one when it is back."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from holdfast.shared.background import Pause
from holdfast.shared.errors import LogFull, RedisRefused
from holdfast.shared.redis import RedisError, is_lasting

log = structlog.get_logger()
Answer = TypeVar("Answer")


class Condition:
    """Whether a server is in one kind of trouble. The outcome of a call that was made before this last changed is
    ignored: it may be older than the change."""

    def __init__(self) -> None:
        self.lasts = False
        self._changed_s = -math.inf

    def change(self, lasts: bool, asked_s: float) -> bool:
        """Take note of the outcome of a call that was made at `asked_s`. Returns whether it changes anything."""
        changes = lasts != self.lasts and asked_s >= self._changed_s
        if changes:
            self.lasts, self._changed_s = lasts, time.monotonic()
        return changes


class Outage:
    """The state of one server, from the outcomes of all calls to it. `asked_s`: when a call was made, by the monotonic
    clock. A server that is full still answers reads, so only a write ends that state."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._away = Condition()
        self._full = Condition()
        self._refusal = ""

    def began(self, error: RedisError | LogFull, asked_s: float = math.inf) -> None:
        """Take note of a call that failed. One that was refused for good is logged once, and no outage."""
        text = f"{type(error).__name__}: {error}"
        if isinstance(error, LogFull):
            if self._full.change(True, asked_s):
                log.warning("redis is full", server=self._server, error=text)
        elif is_lasting(error):
            if str(error) != self._refusal:
                self._refusal = str(error)
                log.error("redis refuses a call", server=self._server, error=text)
        elif self._away.change(True, asked_s):
            log.warning("redis is away", server=self._server, error=text)

    def ended(self, asked_s: float = math.inf, *, wrote: bool = False) -> None:
        """Take note of a call that was answered. `wrote`: a server that is full would have refused it."""
        if self._away.change(False, asked_s):
            log.info("redis is back", server=self._server)
        if wrote and self._full.change(False, asked_s):
            log.info("redis is no longer full", server=self._server)

    async def retry_until_available(
        self,
        call: Callable[[], Awaitable[Answer]],
        *,
        writes: bool = False,
        unless_full: Callable[[], bool] = lambda: False,
    ) -> Answer:
        """Make the call until the server takes it. The call must be one that may be repeated. `writes`: a server that
        is full refuses it.

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
                self.ended(asked_s, wrote=writes)
                return answer
