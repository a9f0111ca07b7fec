"""Checks that a session exists and reads a new viewer's first page, in one round trip to Redis."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from holdfast.gateway.stream.replay import FIRST_PAGE_EVENTS
from holdfast.gateway.stream.viewer import StreamRequest
from holdfast.shared.ids import ORIGIN
from holdfast.shared.keyring import Keyring
from holdfast.shared.keys import log_key
from holdfast.shared.log.event_log import Page, Presence, page_behind, page_question, presence, question
from holdfast.shared.redis.auto_pipeline import PipelinedConnection
from holdfast.shared.redis.errors import RedisError, RedisTimeoutError
from holdfast.shared.redis.log_connections import LogConnections

CHECK_DEADLINE_S = 5.0  # including the wait in line
CONCURRENT_CHECKS = 32  # also bounds the streams that begin in one iteration of the event loop


class Subscription(NamedTuple):
    """The result for a new viewer. `first`: the page after its cursor; None: it has to be read separately."""

    presence: Presence
    first: Page | None


class Subscriber:
    """Limits and pipelines the existence checks of a reconnect storm.

    Of several concurrent viewers of one session only the first reads its page here; the others use the page cache."""

    def __init__(self, connections: LogConnections) -> None:
        self._connections = connections
        self._checks = asyncio.Semaphore(CONCURRENT_CHECKS)
        self._reading: set[str] = set()

    async def subscribe(self, request: StreamRequest) -> Subscription:
        """Check a request's session and read its first page. Raises RedisError, after CHECK_DEADLINE_S at most."""
        if not self._checks.locked():  # a timer costs more than the check itself
            return await self._subscribe(request)
        try:
            async with asyncio.timeout(CHECK_DEADLINE_S):
                return await self._subscribe(request)
        except TimeoutError:
            raise RedisTimeoutError from None

    async def _subscribe(self, request: StreamRequest) -> Subscription:
        async with self._checks:
            pipeline = self._connections.connection_for(request.session_id).pipeline
            connection = await pipeline.connection_for(log_key(request.session_id))
            keyring = self._connections.keyring
            if request.from_now or request.session_id in self._reading:
                return Subscription(await _presence(connection, request), None)
            self._reading.add(request.session_id)
            try:
                return await _read(connection, request, keyring)
            finally:
                self._reading.discard(request.session_id)


async def _presence(connection: PipelinedConnection, request: StreamRequest) -> Presence:
    return presence(*await connection.execute_soon(*question(request.session_id)))


async def _read(connection: PipelinedConnection, request: StreamRequest, keyring: Keyring) -> Subscription:
    cursor = request.cursor or ORIGIN
    found: list[Any] = []  # filled before the reply to the next command arrives
    connection.call_soon(found.append, *page_question(request.session_id, cursor, FIRST_PAGE_EVENTS))
    state = await _presence(connection, request)
    anchored = found[0]  # may be an error: the next read of the log reports it
    if keyring.on and not isinstance(anchored, RedisError):
        anchored = await keyring.opened_entries(request.session_id, anchored, b"%d-%d" % cursor)
    return Subscription(
        state, None if isinstance(anchored, RedisError) else page_behind(cursor, anchored, FIRST_PAGE_EVENTS)
    )
