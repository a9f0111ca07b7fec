"""Deadlines of one length for any number of items, on a single timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")

TICK_SECONDS = 0.5


class Deadline(Generic[Item]):
    """Calls `expire` with each item that has not been stopped `seconds` after its start.

    All items have the same duration, so they expire in the order in which they were started, and each tick looks at the
    expired ones and one more. The timer fires at most every TICK_SECONDS: an item expires at most that late, and never
    early. After the event loop was blocked, the timer waits for one more tick: data that stops an item may have arrived
    but not been read."""

    def __init__(self, seconds: float, expire: Callable[[Item], None]) -> None:
        self._seconds = seconds
        self._expire = expire
        self._due: dict[Item, float] = {}
        self._ticking = False
        self._tick_at = 0.0
        self._postponed = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def __len__(self) -> int:
        return len(self._due)

    def start(self, item: Item) -> None:
        """Start the item's deadline, unless it is running already. All calls must come from the same event loop."""
        if item in self._due:
            return
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        self._due[item] = self._loop.time() + self._seconds
        if not self._ticking:
            self._ticking = True
            self._tick_after(self._seconds)

    def stop(self, item: Item) -> None:
        """Stop the item's deadline, if it is running."""
        self._due.pop(item, None)

    def _tick_after(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._tick_at = loop.time() + max(seconds, TICK_SECONDS)
        loop.call_at(self._tick_at, self._tick)

    def _tick(self) -> None:
        now = asyncio.get_running_loop().time()
        if now > self._tick_at + TICK_SECONDS and not self._postponed:
            self._postponed = True
            self._tick_after(TICK_SECONDS)
            return
        self._postponed = False
        self._expire_until(now)

    def _expire_until(self, now: float) -> None:
        expired, next_due = [], None
        for item, due in self._due.items():
            if due > now:
                next_due = due
                break
            expired.append(item)
        self._ticking = next_due is not None
        if next_due is not None:
            self._tick_after(next_due - now)
        for item in expired:
            del self._due[item]
        for item in expired:
            self._expire(item)
