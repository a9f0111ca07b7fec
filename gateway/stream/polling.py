"""Open the connection of a tailer, and read by polling where the server cannot notify of changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import structlog
from holdfast.shared.redis.connection import Listener, RedisConnection
from holdfast.shared.redis.probe import tracking_problem
from holdfast.shared.redis.sentinel import open_connection

logger = structlog.get_logger()

POLL_SECONDS = 0.05


async def open_tail(url: str, deadline_s: float, listener: Listener) -> RedisConnection:
    """Connect with tracking, or without it where the server lacks it: see `tracking` of the connection.

    Raises RedisError when the server does not answer or refuses the user."""
    problem = await tracking_problem(url, deadline_s)
    if problem is not None:
        logger.warning("log server does not notify of changes; polling", reason=problem, poll_seconds=POLL_SECONDS)
    return await open_connection(RedisConnection, url, deadline_s, listener=listener, tracking=problem is None)


async def poll_until(stop: asyncio.Event, poll: Callable[[], None]) -> None:
    """Call `poll` now and every POLL_SECONDS, until `stop` is set."""
    while not stop.is_set():
        poll()
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS):
                await stop.wait()
