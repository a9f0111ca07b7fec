"""Cache of log pages that several viewers read at the same time, with the results computed from them."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

from holdfast.shared.ids import EventId
from holdfast.shared.log.entries import bodies_of
from holdfast.shared.log.event_log import EventLog, Page

MAX_CACHE_BYTES = 8 * 1024 * 1024
CACHE_S = 1.0
_ENTRY_BYTES = 300

_Key = tuple[str, EventId, int]


class CachedPage:
    """A page as of some moment after `requested_at` (monotonic seconds).

    `deleting`: a deletion of the session was pending at that moment. `derived` holds results computed from the page,
    keyed by everything else that they depend on."""

    __slots__ = ("deleting", "derived", "page", "requested_at", "waiting")

    def __init__(self) -> None:
        self.requested_at = time.monotonic()
        self.waiting: list[asyncio.Future[Page]] = []
        self.page = Page([])
        self.deleting = False
        self.derived: dict[Hashable, Any] = {}


class PageCache:
    """Reads pages once for many viewers. A page is shared only among viewers that asked before its read began.

    So a viewer always sees what was trimmed, lost, deleted or recreated before it asked. Pages are kept for CACHE_S and
    within MAX_CACHE_BYTES, and only where another viewer may read them."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._reading: dict[_Key, CachedPage] = {}
        self._cached: OrderedDict[_Key, CachedPage] = OrderedDict()
        self.cached_bytes = 0
        self._sweep_due = False

    async def read(self, session_id: str, cursor: EventId, count: int, *, since: float, store: bool) -> CachedPage:
        """Read a page as EventLog.read does, as of some moment after `since`.

        Args:
            since: monotonic seconds; an older page is not used.
            store: keep the page for other viewers.
        """
        key = (session_id, cursor, count)
        cached = self._cached.get(key)
        if cached is not None and cached.requested_at >= since:
            return cached
        reading = self._reading.get(key)
        if reading is None or reading.requested_at < since:
            return await self._read(key, store=store)
        waiting: asyncio.Future[Page] = asyncio.get_running_loop().create_future()
        reading.waiting.append(waiting)
        await waiting
        return reading

    async def _read(self, key: _Key, *, store: bool) -> CachedPage:
        reading = self._reading[key] = CachedPage()
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
        if (store or reading.waiting) and reading.page.entries and reading.page.gap is None:
            self._store(key, reading)
        return reading

    def _store(self, key: _Key, page: CachedPage) -> None:
        self._drop(key)
        self._cached[key] = page
        self.cached_bytes += _size(page)
        while self.cached_bytes > MAX_CACHE_BYTES:
            self._drop(next(iter(self._cached)))
        self._sweep_later()

    def _drop(self, key: _Key) -> None:
        page = self._cached.pop(key, None)
        if page is not None:
            self.cached_bytes -= _size(page)

    def _sweep_later(self) -> None:
        if self._cached and not self._sweep_due:
            self._sweep_due = True
            asyncio.get_running_loop().call_later(CACHE_S, self._sweep)

    def _sweep(self) -> None:
        self._sweep_due = False
        oldest = time.monotonic() - CACHE_S
        while self._cached and next(iter(self._cached.values())).requested_at <= oldest:
            self._drop(next(iter(self._cached)))
        self._sweep_later()


def _fail(reading: CachedPage, error: BaseException) -> None:
    for waiting in reading.waiting:
        if waiting.done():
            continue
        if isinstance(error, Exception):
            waiting.set_exception(error)
        else:
            waiting.cancel()


def _size(page: CachedPage) -> int:
    """Estimate the bytes of a page with its results: event bodies, entry objects, and the frames of one format."""
    bodies = bodies_of(page.page.entries)
    return 2 * sum(map(len, bodies)) + _ENTRY_BYTES * len(bodies)
