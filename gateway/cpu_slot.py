"""Spreads the processing of large request bodies over iterations of the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

# A body of this size takes about a millisecond in all.
LARGE_BYTES = 8 * 1024

Result = TypeVar("Result")


class CpuSlot:
    """Runs at most one step of one large body per iteration of the event loop, however many bodies arrive at once."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def run(self, size: int, step: Callable[..., Result], *arguments: Any) -> Result:
        """Run one step of the processing of a body and return its result.

        Args:
            size: bytes that the step processes. Steps below LARGE_BYTES run immediately.
        """
        if size < LARGE_BYTES:
            return step(*arguments)
        async with self._lock:
            await asyncio.sleep(0)  # the previous step may have run in this iteration
            return step(*arguments)
