"""Redis' being away: waited out with a growing pause, and told by one line when it goes and one when it is back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from shared.background import Pause
from shared.errors import LogFull
from shared.redis import RedisError

log = structlog.get_logger()
Answer = TypeVar("Answer")


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
