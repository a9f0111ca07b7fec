"""The stored credentials as of about a second ago. Kept during an outage of Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from holdfast.shared.auth_store import AuthState, AuthStore
from holdfast.shared.errors import LogUnavailable
from holdfast.shared.redis.errors import RedisError

POLL_S = 1.0
FIRST_DEADLINE_S = 5.0
PAUSE_S = 0.1


class AuthWatch:
    """Polls the credentials and reports changes.

    `last`: those that were read last, if any. `on_change` is called after each change, with the new ones."""

    def __init__(self, store: AuthStore) -> None:
        self._store = store
        self.last: AuthState | None = None
        self._read_at = 0.0
        self._lock = asyncio.Lock()
        self.on_change: Callable[[AuthState], None] = lambda _: None

    async def poll(self) -> float:
        """Read what has changed. Returns the seconds until the next poll. Raises RedisError."""
        await self._refresh()
        return POLL_S

    async def state(self) -> AuthState:
        """Return the credentials. Raises LogUnavailable if they could not be read yet."""
        if self.last is None:
            try:
                async with asyncio.timeout(FIRST_DEADLINE_S):
                    return await self._refresh()
            except (RedisError, TimeoutError):
                raise LogUnavailable from None
        return self.last

    async def fresh(self) -> AuthState:
        """Return credentials that were read after this call, if Redis answers; for a key that is not known yet.

        Redis is asked at most every PAUSE_S, however many unknown keys arrive."""
        await asyncio.sleep(self._read_at + PAUSE_S - time.monotonic())
        try:
            return await self._refresh()
        except RedisError:
            return await self.state()

    async def _refresh(self) -> AuthState:
        asked = time.monotonic()
        async with self._lock:
            if self.last is None or self._read_at < asked:
                if self.last is None or not self.last.secret or await self._store.version() != self.last.version:
                    self.last = await self._store.state()
                    self.on_change(self.last)
                self._read_at = time.monotonic()
            return self.last
