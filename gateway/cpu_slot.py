"""CpuSlot: how the processing of large bodies is spread over iterations of the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

# A body of this size takes about a millisecond in all.
LARGE_BYTES = 8 * 1024

Result = TypeVar("Result")


class CpuSlot:
    """One step of one large body in an iteration of the event loop: however many arrive at once, whatever else is ready
    waits for one step."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def run(self, size: int, step: Callable[..., Result], *arguments: Any) -> Result:
        """Call a step of the processing of a body of so many bytes, and return its result."""
        if size < LARGE_BYTES:
            return step(*arguments)
        async with self._lock:
            await asyncio.sleep(0)  # the step before this one may have run in the same iteration
            return step(*arguments)
