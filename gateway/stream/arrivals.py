"""Those who come: whether there is such a session, and what its log has for them, in one trip to Redis."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from holdfast.gateway.stream.replay import FIRST_PAGE_EVENTS
from holdfast.gateway.stream.viewer import Wish
from holdfast.shared.event_log import Page, Presence, page_behind, page_question, presence, question
from holdfast.shared.ids import ORIGIN
from holdfast.shared.pipe import Pipe, PipeWire
from holdfast.shared.redis import RedisError, RedisTimeoutError

PATIENCE_S = 5.0  # of those who wait for their turn, however many wait before them
QUESTIONS = 32  # under way at a time: who gets an answer begins a stream in that turn of the event loop


class Arrival(NamedTuple):
    """`first`: the page behind the viewer's cursor; None where more has to be asked for that."""

    presence: Presence
    first: Page | None


class Arrivals:
    """A few questions at a time, which go together where many come. Where a crowd comes for one session, one of them
    reads for himself; the others are left to read together."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._questions = asyncio.Semaphore(QUESTIONS)
        self._reading: set[str] = set()

    async def ask(self, wish: Wish) -> Arrival:
        """Ask about the session of a wish. Raises RedisError: in PATIENCE_S, or when the pipe gives up."""
        if not self._questions.locked():  # a timer costs more than the question: none where nobody waits
            return await self._ask(wish)
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self._ask(wish)
        except TimeoutError:
            raise RedisTimeoutError from None

    async def _ask(self, wish: Wish) -> Arrival:
        async with self._questions:
            wire = await self._pipe.wire()
            if wish.from_now or wish.session_id in self._reading:
                return Arrival(await _presence(wire, wish), None)
            self._reading.add(wish.session_id)
            try:
                return await _read(wire, wish)
            finally:
                self._reading.discard(wish.session_id)


async def _presence(wire: PipeWire, wish: Wish) -> Presence:
    return presence(*await wire.ask_soon(*question(wish.session_id)))


async def _read(wire: PipeWire, wish: Wish) -> Arrival:
    cursor = wish.cursor or ORIGIN
    found: list[Any] = []  # its reply is there before that of the next command
    wire.call_soon(found.append, *page_question(wish.session_id, cursor, FIRST_PAGE_EVENTS))
    found_as = await _presence(wire, wish)
    anchored = found[0]  # may be an error: whoever reads the log again says so
    return Arrival(
        found_as, None if isinstance(anchored, RedisError) else page_behind(cursor, anchored, FIRST_PAGE_EVENTS)
    )
