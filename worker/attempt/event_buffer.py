"""The events of one attempt on both sides of an append: those that wait for it, and the newest ones behind it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from holdfast.shared.errors import LogGone
from holdfast.shared.log.events import ASKED, STARTED, TERMINAL
from holdfast.shared.log.log_replies import Event

BY_SCRIPT = frozenset({ASKED, STARTED})  # each changes its job's record, by a script of its own
UNBATCHED = TERMINAL | BY_SCRIPT


class Bounds(NamedTuple):
    """Limits of a writer: of one append, of its buffer (beyond which `put` waits), and of the retained events."""

    batch_events: int = 256
    batch_bytes: int = 512 * 1024
    waiting_events: int = 1000
    waiting_bytes: int = 1024 * 1024
    kept_events: int = 1000
    kept_bytes: int = 256 * 1024


class Buffer:
    """The events that wait for an append. `put` and `done`: how many were added so far, and how many were removed."""

    def __init__(self, bounds: Bounds) -> None:
        self.put = 0
        self.done = 0
        self.events: deque[Event] = deque()
        self._bytes = 0
        self._bounds = bounds

    def add(self, event: Event) -> None:
        self.events.append(event)
        self._bytes += len(event.body)
        self.put += 1

    def is_full(self) -> bool:
        return len(self.events) >= self._bounds.waiting_events or self._bytes >= self._bounds.waiting_bytes

    def next_batch(self) -> list[Event]:
        """Return the oldest events, as many as one append takes. They stay in the buffer until they are removed."""
        batch: list[Event] = []
        size = 0
        for event in self.events:
            size += len(event.body)
            if batch and (len(batch) >= self._bounds.batch_events or size > self._bounds.batch_bytes):
                break
            if batch and (event.kind in BY_SCRIPT or batch[0].kind in BY_SCRIPT):
                break
            batch.append(event)
        return batch

    def remove(self, batch: Sequence[Event]) -> None:
        for event in batch:
            self.events.popleft()
            self._bytes -= len(event.body)
        self.done += len(batch)

    def clear(self) -> None:
        self.done += len(self.events)
        self.events.clear()
        self._bytes = 0


class Tail:
    """The newest acknowledged events. `seq`: that of the last one."""

    def __init__(self, seq: int, bounds: Bounds) -> None:
        self.seq = seq
        self._bounds = bounds
        self._events: deque[Event] = deque()
        self._bytes = 0

    def extend(self, events: Iterable[Event]) -> None:
        for event in events:
            self._events.append(event)
            self._bytes += len(event.body)
            self.seq += 1
        while len(self._events) > self._bounds.kept_events or self._bytes > self._bounds.kept_bytes:
            self._bytes -= len(self._events.popleft().body)

    def batches_after(self, seq: int) -> Iterator[list[Event]]:
        """Split the events above the seq into batches. One that changes its job's record is a batch of its own.

        Raises LogGone when not all of them are retained."""
        missing = self.seq - seq
        if missing > len(self._events):
            raise LogGone(f"the log lost {missing} events, {len(self._events)} are retained")
        batch: list[Event] = []
        for event in list(self._events)[len(self._events) - missing :]:
            full = len(batch) == self._bounds.batch_events
            if batch and (full or event.kind in UNBATCHED or batch[0].kind in UNBATCHED):
                yield batch
                batch = []
            batch.append(event)
        if batch:
            yield batch
