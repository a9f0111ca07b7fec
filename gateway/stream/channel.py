"""A session with viewers, as a tailer sees it."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from holdfast.gateway.stream.batch import Batch
from holdfast.shared.ids import EventId
from holdfast.shared.keys import log_key

EVENT_BYTES = 512  # initial estimate of the size of a session's events
TAIL_BYTES = 256 * 1024


class LiveViewer(Protocol):
    """What the tailer needs of a viewer."""

    cursor: EventId

    def deliver(self, batch: Batch) -> None:
        """Deliver the next batch. The viewer skips known events, and falls behind if the batch leaves a hole."""

    def fall_behind(self) -> None:
        """Stop live delivery and read the log from the viewer's own cursor."""


class Channel:
    """A session with viewers. `position` is the last id read for the live viewers; None: there are none.

    While viewers are `behind`, the newest batches are kept as `tail`, so that they can go live without missing events.
    `changed`: an invalidation arrived since the last read began. `slot`: of the log, on a cluster."""

    __slots__ = (
        *("behind", "event_bytes", "key", "live", "changed", "position", "reading", "session_id", "slot"),
        *("tail", "tail_bytes"),
    )

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self.key = log_key(session_id).encode()
        self.slot = 0
        self.live: set[LiveViewer] = set()
        self.behind = 0
        self.position: EventId | None = None
        self.reading: EventId | None = None
        self.changed = False
        self.event_bytes = EVENT_BYTES
        self.tail: deque[Batch] = deque()
        self.tail_bytes = 0

    def keep(self, batch: Batch) -> None:
        """Keep the batch for viewers that are behind, at most TAIL_BYTES in all."""
        self.tail.append(batch)
        self.tail_bytes += batch.size
        while self.tail_bytes > TAIL_BYTES:
            self.tail_bytes -= self.tail.popleft().size

    def update_estimate(self, batch: Batch) -> None:
        """Update the expected size of an event: it rises immediately and at most halves per batch."""
        seen, half = batch.size // len(batch.entries), self.event_bytes // 2
        self.event_bytes = seen if seen > half else half or 1

    def drop_tail(self) -> None:
        self.tail.clear()
        self.tail_bytes = 0

    def reaches(self, cursor: EventId) -> bool:
        """Return whether a viewer with this cursor can go live from the position or the tail."""
        if self.position is None or cursor >= self.position:
            return True
        return bool(self.tail) and self.tail[0].prev <= cursor
