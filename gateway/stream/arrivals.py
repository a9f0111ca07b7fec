"""Those who come: whether there is such a session, and what its log has for them, in one trip to Redis."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from gateway.stream.replay import FIRST_PAGE_EVENTS
from gateway.stream.viewer import Wish
from shared.entries import entries_of
from shared.event_log import Page, is_there, page_behind, question
from shared.ids import ORIGIN, EventId
from shared.keys import log_key
from shared.pipe import Pipe
from shared.redis import RedisTimeoutError

PATIENCE_S = 5.0  # of those who wait for their turn, however many wait before them
QUESTIONS = 32  # under way at a time: who gets an answer begins a stream in that turn of the event loop


class Arrival(NamedTuple):
    """`first`: the page behind the viewer's cursor; None where more has to be asked for that."""

    there: bool
    first: Page | None


class Arrivals:
    """A few questions at a time, which go together where many come."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._questions = asyncio.Semaphore(QUESTIONS)

    async def ask(self, wish: Wish) -> Arrival:
        """Ask about the session of a wish. Raises RedisError, after PATIENCE_S in line or when the pipe gives up."""
        cursor = wish.cursor or ORIGIN
        page = ("XRANGE", log_key(wish.session_id), str(cursor), "+", "COUNT", FIRST_PAGE_EVENTS + 1)
        await self._turn()
        try:
            wire = await self._pipe.wire()
            found: list[Any] = []
            wire.call_soon(found.append, *page)  # its reply is there before that of the next command
            there = is_there(*await wire.ask_soon(*question(wish.session_id)))
        finally:
            self._questions.release()
        return Arrival(there, None if wish.from_now else _page(cursor, found[0]))

    async def _turn(self) -> None:
        """A timer costs more than the question: none where nobody waits."""
        if not self._questions.locked():
            await self._questions.acquire()
            return
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._questions.acquire()
        except TimeoutError:
            raise RedisTimeoutError from None


def _page(cursor: EventId, found: Any) -> Page | None:
    """None as well for what cannot be read: whoever reads it again says so."""
    try:
        return page_behind(cursor, entries_of(found), FIRST_PAGE_EVENTS)
    except (KeyError, ValueError, TypeError):
        return None
