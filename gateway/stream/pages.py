"""Pages of logs that many viewers read at the same time: read once, and what they came to is worked out once."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

from holdfast.shared.entries import bodies_of
from holdfast.shared.event_log import EventLog, Page
from holdfast.shared.ids import EventId

HELD_BYTES = 8 * 1024 * 1024
HELD_S = 1.0

_Key = tuple[str, EventId, int]


class SharedPage:
    """A page as it was after `asked_at`. `deleting`: the session was being deleted by then. `came_to`: what has been
    worked out from it, by what that depends on."""

    __slots__ = ("asked_at", "came_to", "deleting", "page", "waiting")

    def __init__(self) -> None:
        self.asked_at = time.monotonic()
        self.waiting: list[asyncio.Future[Page]] = []
        self.page = Page([])
        self.deleting = False
        self.came_to: dict[Hashable, Any] = {}


class SharedPages:
    """A page goes only to who came before it was asked for, so nobody can tell it from one that was read for him alone:
    whatever was trimmed, lost, deleted or begun anew before somebody came, he reads of it. Pages are held for a moment
    and within a bound, and only where somebody else may want them."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._reading: dict[_Key, SharedPage] = {}
        self._held: OrderedDict[_Key, SharedPage] = OrderedDict()
        self._held_bytes = 0
        self._sweep_due = False

    async def read(self, session_id: str, cursor: EventId, count: int, *, since: float, hold: bool) -> SharedPage:
        """As EventLog.read, as it was at some moment after `since`. `hold`: others may come for it."""
        key = (session_id, cursor, count)
        held = self._held.get(key)
        if held is not None and held.asked_at >= since:
            return held
        reading = self._reading.get(key)
        if reading is None or reading.asked_at < since:
            return await self._read(key, hold=hold)
        waiting: asyncio.Future[Page] = asyncio.get_running_loop().create_future()
        reading.waiting.append(waiting)
        await waiting
        return reading

    async def _read(self, key: _Key, *, hold: bool) -> SharedPage:
        reading = self._reading[key] = SharedPage()
        try:
            reading.page, presence = await self._log.read_with_presence(*key)
            reading.deleting = presence == "deleting"
        except BaseException as error:
            _fail(reading, error)
            raise
        finally:
            if self._reading.get(key) is reading:
                del self._reading[key]
        for waiting in reading.waiting:
            if not waiting.done():
                waiting.set_result(reading.page)
        if (hold or reading.waiting) and reading.page.entries and reading.page.gap is None:
            self._hold(key, reading)
        return reading

    def _hold(self, key: _Key, page: SharedPage) -> None:
        self._drop(key)
        self._held[key] = page
        self._held_bytes += _size(page)
        while self._held_bytes > HELD_BYTES:
            self._drop(next(iter(self._held)))
        self._sweep_later()

    def _drop(self, key: _Key) -> None:
        page = self._held.pop(key, None)
        if page is not None:
            self._held_bytes -= _size(page)

    def _sweep_later(self) -> None:
        if self._held and not self._sweep_due:
            self._sweep_due = True
            asyncio.get_running_loop().call_later(HELD_S, self._sweep)

    def _sweep(self) -> None:
        self._sweep_due = False
        oldest = time.monotonic() - HELD_S
        while self._held and next(iter(self._held.values())).asked_at <= oldest:
            self._drop(next(iter(self._held)))
        self._sweep_later()


def _fail(reading: SharedPage, error: BaseException) -> None:
    for waiting in reading.waiting:
        if waiting.done():
            continue
        if isinstance(error, Exception):
            waiting.set_exception(error)
        else:
            waiting.cancel()


def _size(page: SharedPage) -> int:
    """What it may take with what comes of it: its events, their parts as objects, and their frames once. Who wants it
    in another form makes more of it, for the second or two that it is held."""
    bodies = bodies_of(page.page.entries)
    return 2 * sum(map(len, bodies)) + _ENTRY_BYTES * len(bodies)


_ENTRY_BYTES = 300
