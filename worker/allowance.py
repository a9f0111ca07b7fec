"""The time that an agent may run. It stands still while a person is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Allowance:
    """Counts down while it runs, and calls `spent` at its end."""

    def __init__(self, seconds: float, spent: Callable[[], None]) -> None:
        self._left_s = seconds
        self._spent = spent
        self._timer: asyncio.TimerHandle | None = None

    def run(self) -> None:
        """Go on counting."""
        self._timer = asyncio.get_running_loop().call_later(self._left_s, self._spent)

    def pause(self) -> None:
        """Stop counting."""
        if self._timer is not None:
            self._left_s = max(self._timer.when() - asyncio.get_running_loop().time(), 0)
            self._timer.cancel()
            self._timer = None
