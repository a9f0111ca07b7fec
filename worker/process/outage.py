"""Wait out outages of Redis with backoff, and log the beginning and the end of each once."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from holdfast.shared.background import Pause
from holdfast.shared.errors import LogFull, RedisRefused
from holdfast.shared.redis.errors import NotEnoughReplicas, RedisError, is_lasting

WRITES_TAKEN_S = 2.0  # without a refused write: then the calls that succeed include some

log = structlog.get_logger()
Answer = TypeVar("Answer")


class Condition:
    """Whether one condition of a server holds, such as being unavailable. Outcomes of calls that were made before its
    last change are ignored, since they may be older than the change."""

    def __init__(self) -> None:
        self.lasts = False
        self._changed_s = -math.inf

    def change(self, lasts: bool, asked_s: float) -> bool:
        """Record the outcome of a call that was made at `asked_s`. Returns whether the condition changed."""
        changes = lasts != self.lasts and asked_s >= self._changed_s
        if changes:
            self.lasts, self._changed_s = lasts, time.monotonic()
        return changes


class Outage:
    """The state of one server, derived from the outcomes of all calls to it.

    `asked_s`: when a call was made, in seconds of the monotonic clock. A full server still answers reads, so only a
    successful write ends that state."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._away = Condition()
        self._full = Condition()
        self._unreplicated = Condition()
        self._unreplicated_s = -math.inf
        self._refusal = ""

    def began(self, error: RedisError | LogFull, asked_s: float = math.inf) -> None:
        """Record a failed call. A permanent refusal is logged once and is no outage."""
        text = f"{type(error).__name__}: {error}"
        if isinstance(error, LogFull):
            if self._full.change(True, asked_s):
                log.warning("redis is full", server=self._server, error=text)
        elif isinstance(error, NotEnoughReplicas):
            self._unreplicated_s = time.monotonic()
            if self._unreplicated.change(True, asked_s):
                log.warning("redis takes no writes", server=self._server, error=text)
        elif is_lasting(error):
            if str(error) != self._refusal:
                self._refusal = str(error)
                log.error("redis refuses a call", server=self._server, error=text)
        elif self._away.change(True, asked_s):
            log.warning("redis is unavailable", server=self._server, error=text)

    def ended(self, asked_s: float = math.inf, *, wrote: bool = False) -> None:
        """Record a successful call. `wrote`: a full server would have refused it."""
        if self._away.change(False, asked_s):
            log.info("redis is available again", server=self._server)
        if wrote and self._full.change(False, asked_s):
            log.info("redis is no longer full", server=self._server)
        silent = time.monotonic() - self._unreplicated_s > WRITES_TAKEN_S
        if (wrote or silent) and self._unreplicated.change(False, asked_s):
            log.info("redis takes writes again", server=self._server)

    async def retry_until_available(
        self,
        call: Callable[[], Awaitable[Answer]],
        *,
        writes: bool = False,
        unless_full: Callable[[], bool] = lambda: False,
    ) -> Answer:
        """Repeat an idempotent call until the server accepts it. `writes`: a full server refuses the call.

        Raises RedisRefused on a permanent refusal, and LogFull when the server is full and `unless_full` returns
        True."""
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
