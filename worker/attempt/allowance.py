"""The run time limit of an agent, which is paused while the job waits for a person."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Allowance:
    """A countdown of `seconds` that can be paused. Calls `spent` at the end."""

    def __init__(self, seconds: float, spent: Callable[[], None]) -> None:
        self._left_s = seconds
        self._spent = spent
        self._timer: asyncio.TimerHandle | None = None

    def run(self) -> None:
        """Start or resume the countdown."""
        self._timer = asyncio.get_running_loop().call_later(self._left_s, self._spent)

    def pause(self) -> None:
        """Pause the countdown."""
        if self._timer is not None:
            self._left_s = max(self._timer.when() - asyncio.get_running_loop().time(), 0)
            self._timer.cancel()
            self._timer = None
