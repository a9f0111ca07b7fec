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
    early."""

    def __init__(self, seconds: float, expire: Callable[[Item], None]) -> None:
        self._seconds = seconds
        self._expire = expire
        self._due: dict[Item, float] = {}
        self._ticking = False
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
            self._loop.call_later(max(self._seconds, TICK_SECONDS), self._tick)

    def stop(self, item: Item) -> None:
        """Stop the item's deadline, if it is running."""
        self._due.pop(item, None)

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now, expired, next_due = loop.time(), [], None
        for item, due in self._due.items():
            if due > now:
                next_due = due
                break
            expired.append(item)
        self._ticking = next_due is not None
        if next_due is not None:
            loop.call_later(max(next_due - now, TICK_SECONDS), self._tick)
        for item in expired:
            del self._due[item]
        for item in expired:
            self._expire(item)
