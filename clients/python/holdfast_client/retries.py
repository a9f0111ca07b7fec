"""When to try again, and when to give up. Free of I/O."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

FIRST_DELAY_S = 1.0
SHORTEST_DELAY_S = 0.05
LONGEST_DELAY_S = 30.0
LONGEST_HINT_S = 300.0
DOUBLINGS = 8


class Retries:
    """The delays between the tries of one call, or between the connections of one stream.

    Delays double from FIRST_DELAY_S, or from the server's `retry:`, up to LONGEST_DELAY_S, and are then lengthened by
    up to a half at random, so that clients that lost the same gateway do not return together. `patience_s`: how long
    tries may go on without success."""

    def __init__(
        self,
        patience_s: float,
        *,
        now: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.patience_s = patience_s
        self._delay_s = FIRST_DELAY_S
        self._now = now
        self._uniform = uniform
        self._failures = 0
        self._since = 0.0

    def suggest(self, delay_s: float) -> None:
        """Take the server's reconnection time as the first delay."""
        self._delay_s = min(max(delay_s, SHORTEST_DELAY_S), LONGEST_HINT_S)

    def succeeded(self) -> None:
        self._failures = 0

    def failed(self, at_least_s: float = 0.0) -> float | None:
        """Return the seconds to wait before the next try; None when patience is over. `at_least_s`: a `Retry-After`."""
        if not self._failures:
            self._since = self._now()
        self._failures += 1
        delay_s = self._jittered(self._delay_s * 2 ** min(self._failures - 1, DOUBLINGS))
        delay_s = max(delay_s, min(at_least_s, LONGEST_HINT_S))
        return delay_s if self._now() + delay_s - self._since <= self.patience_s else None

    def _jittered(self, delay_s: float) -> float:
        delay_s = max(self._delay_s, min(delay_s, LONGEST_DELAY_S))
        return delay_s * self._uniform(1.0, 1.5)
