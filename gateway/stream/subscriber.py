"""Those who come: whether there is such a session, and what its log has for them, in one trip to Redis."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from holdfast.gateway.stream.replay import FIRST_PAGE_EVENTS
from holdfast.gateway.stream.viewer import StreamRequest
from holdfast.shared.auto_pipeline import AutoPipeline, PipelinedConnection
from holdfast.shared.event_log import Page, Presence, page_behind, presence, question
from holdfast.shared.ids import ORIGIN
from holdfast.shared.keys import log_key
from holdfast.shared.redis import RedisError, RedisTimeoutError

CHECK_DEADLINE_S = 5.0  # of those who wait for their turn, however many wait before them
CONCURRENT_CHECKS = 32  # under way at a time: who gets an answer begins a stream in that turn of the event loop


class Subscription(NamedTuple):
    """`first`: the page behind the viewer's cursor; None where more has to be asked for that."""

    presence: Presence
    first: Page | None


class Subscriber:
    """A few questions at a time, which go together where many come. Where a crowd comes for one session, one of them
    reads for himself; the others are left to read together."""

    def __init__(self, pipeline: AutoPipeline) -> None:
        self._pipeline = pipeline
        self._checks = asyncio.Semaphore(CONCURRENT_CHECKS)
        self._reading: set[str] = set()

    async def subscribe(self, request: StreamRequest) -> Subscription:
        """Ask about the session of a request. Raises RedisError: in CHECK_DEADLINE_S, or when the pipeline gives up."""
        if not self._checks.locked():  # a timer costs more than the question: none where nobody waits
            return await self._subscribe(request)
        try:
            async with asyncio.timeout(CHECK_DEADLINE_S):
                return await self._subscribe(request)
        except TimeoutError:
            raise RedisTimeoutError from None

    async def _subscribe(self, request: StreamRequest) -> Subscription:
        async with self._checks:
            connection = await self._pipeline.connection()
            if request.from_now or request.session_id in self._reading:
                return Subscription(await _presence(connection, request), None)
            self._reading.add(request.session_id)
            try:
                return await _read(connection, request)
            finally:
                self._reading.discard(request.session_id)


async def _presence(connection: PipelinedConnection, request: StreamRequest) -> Presence:
    return presence(*await connection.execute_soon(*question(request.session_id)))


async def _read(connection: PipelinedConnection, request: StreamRequest) -> Subscription:
    cursor = request.cursor or ORIGIN
    found: list[Any] = []  # its reply is there before that of the next command
    connection.call_soon(
        found.append, "XRANGE", log_key(request.session_id), str(cursor), "+", "COUNT", FIRST_PAGE_EVENTS + 1
    )
    found_as = await _presence(connection, request)
    anchored = found[0]  # may be an error: whoever reads the log again says so
    return Subscription(
        found_as, None if isinstance(anchored, RedisError) else page_behind(cursor, anchored, FIRST_PAGE_EVENTS)
    )
