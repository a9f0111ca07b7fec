"""Find out whether a server notifies of changes.

Managed services and proxies may refuse CLIENT TRACKING, or accept it without ever sending an invalidation.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from holdfast.shared.keys import state_key
from holdfast.shared.redis.connection import RedisConnection
from holdfast.shared.redis.errors import RedisError, is_lasting
from holdfast.shared.redis.sentinel import open_connection

PROBE_KEY = state_key("~")  # no session has this id
PUSH_SECONDS = 1.0


class _Pushes:
    """The listener of a connection whose invalidations are counted."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()

    def invalidated(self, keys: list[bytes] | None) -> None:
        self.arrived.set()

    def drained(self) -> None:
        pass

    def lost(self) -> None:
        pass


async def tracking_problem(url: str, deadline_s: float) -> str | None:
    """Return why CLIENT TRACKING cannot be used on this server, or None if it works.

    A key is tracked, and changed for a moment. If it cannot be changed, tracking is assumed to work.

    Raises RedisError when the server does not answer or refuses the user."""
    pushes = _Pushes()
    try:
        connection = await open_connection(RedisConnection, url, deadline_s, listener=pushes)
    except RedisError as error:
        if is_lasting(error):
            return f"HELLO 3 or CLIENT TRACKING is refused: {error}"
        raise
    try:
        if not await _change_tracked_key(connection):
            return None
        with suppress(TimeoutError):
            async with asyncio.timeout(PUSH_SECONDS):
                await pushes.arrived.wait()
    finally:
        connection.abort()
    return None if pushes.arrived.is_set() else "CLIENT TRACKING is accepted, but no invalidation arrives"


async def _change_tracked_key(connection: RedisConnection) -> bool:
    """Track a key, then create and delete it in one transaction. Returns whether that succeeded."""
    replies = await connection.execute_all(
        [
            ("HGET", PROBE_KEY, "probe"),
            ("MULTI",),
            ("HSET", PROBE_KEY, "probe", "1"),
            ("HDEL", PROBE_KEY, "probe"),
            ("EXEC",),
        ]
    )
    return isinstance(replies[-1], list)
