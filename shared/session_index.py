"""The lists of sessions, of each owner and of all, ordered by latest activity, on the queue server.

The log decides which sessions exist. A session is listed before its first job is accepted, and may stay listed for a
while after it was deleted or has expired, so callers must look each one up in the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from holdfast.shared import keys
from holdfast.shared.owner import Owner
from holdfast.shared.queue import PLACES
from holdfast.shared.redis.client import Redis
from holdfast.shared.scripts import queue_script


class Listed(NamedTuple):
    """A listed session. `active_us`: its latest activity in µs since 1970; unique, so that it serves as a page
    cursor."""

    session_id: str
    active_us: int


class SessionIndex:
    """The list of sessions. Every call raises RedisError when the server does not answer, and may then be repeated."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._forget = queue_script(redis, "forget")

    async def newest(self, owner: Owner | None, behind_us: int | None, count: int) -> list[Listed]:
        """Return at most `count` sessions of an owner with an activity before `behind_us`, latest first."""
        begin = "+inf" if behind_us is None else f"({behind_us}"
        return await self._range(keys.sessions_key(owner), begin, "-inf", count, newest_first=True)

    async def find(self, session_id: str) -> Listed | None:
        """Return the place of one session."""
        score = await self._redis.zscore(keys.SESSIONS, session_id)
        return None if score is None else Listed(session_id, int(score))

    async def oldest(self, behind_us: int, before_us: int, count: int) -> list[Listed]:
        """Return at most `count` sessions of all owners with an activity between the two, oldest first."""
        return await self._range(keys.SESSIONS, f"({behind_us}", f"({before_us}", count, newest_first=False)

    async def forget(self, gone: Sequence[Listed]) -> None:
        """Remove sessions from the list, unless they had activity since they were read."""
        if gone:
            await self._forget(PLACES, [part for listed in gone for part in listed])

    async def remove(self, session_id: str) -> None:
        """Remove a session from the list."""
        await self._forget(PLACES, (session_id, ""))

    async def now_us(self) -> int:
        """Return the time of the server's clock in µs since 1970."""
        seconds, micros = await self._redis.time()
        return int(seconds) * 1_000_000 + int(micros)

    async def _range(self, key: str, begin: str, end: str, count: int, *, newest_first: bool) -> list[Listed]:
        found = await self._redis.zrange(
            key, begin, end, desc=newest_first, byscore=True, offset=0, num=count, withscores=True
        )
        return [Listed(session_id.decode(), int(score)) for session_id, score in found]
