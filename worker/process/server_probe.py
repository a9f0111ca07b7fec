"""Log at the start of a worker which rights and commands the Redis servers refuse it."""

from __future__ import annotations

from contextlib import suppress

import structlog
from holdfast.shared.background import repeat
from holdfast.shared.redis.client import user_of
from holdfast.shared.redis.errors import RedisError
from holdfast.shared.redis.rights import refusals
from holdfast.shared.redis.users import WORKER
from holdfast.shared.settings import CommonSettings

DEADLINE_SECONDS = 5.0
RETRY_SECONDS = 1.0

log = structlog.get_logger()


class ServerProbe:
    """Looks at the queue server and at the log server once, as soon as each answers."""

    def __init__(self, settings: CommonSettings) -> None:
        self._left = {"queue": (settings.redis_url, WORKER.needed_on_queue), "log": (settings.log_url, WORKER.on_log)}

    async def run(self) -> None:
        """Log what is missing, then end."""
        await repeat("probe", self._step)

    async def _step(self) -> float | None:
        for server, (url, rights) in tuple(self._left.items()):
            with suppress(RedisError):
                refused = await refusals(url, rights, DEADLINE_SECONDS)
                del self._left[server]
                for sentence in refused.sentences(user_of(url)):
                    log.error("redis lacks what a worker needs", server=server, reason=sentence)
        return RETRY_SECONDS if self._left else None
