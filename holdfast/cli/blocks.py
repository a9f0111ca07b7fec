"""Put the texts of agents that write at the same time in order, for a terminal."""

from __future__ import annotations

from collections.abc import Callable

QUIET_DELTAS = 10  # of other agents, after which an agent that wrote none is regarded as finished
MOST_HELD_CHARACTERS = 64 * 1024


class Blocks:
    """One agent's text is written as it grows; those of others wait until it writes no more.

    `write(agent, text)` writes; the agent is None in a job where only one writes."""

    def __init__(self, write: Callable[[str | None, str], None]) -> None:
        self._write = write
        self._held: dict[str | None, list[str]] = {}
        self._size = 0
        self._current: str | None = None
        self._quiet = QUIET_DELTAS  # so that the first agent is written at once

    def add(self, agent: str | None, text: str) -> None:
        """Write a delta, or hold it back."""
        if agent == self._current and agent not in self._held:
            self._quiet = 0
            self._write(agent, text)
            return
        self._held.setdefault(agent, []).append(text)
        self._size += len(text)
        self._quiet += 1
        if self._size > MOST_HELD_CHARACTERS:
            self.end()
        elif self._quiet >= QUIET_DELTAS:
            self._next()

    def end(self) -> None:
        """Write all that is held back."""
        while self._held:
            self._next()
        self._quiet = QUIET_DELTAS

    def _next(self) -> None:
        self._current = next(iter(self._held))
        text = "".join(self._held.pop(self._current))
        self._size -= len(text)
        self._quiet = 0
        self._write(self._current, text)
