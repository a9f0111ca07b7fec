"""Counters of the event streams of a process, as plain integers, and the lag of a sample of the jobs' ends."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import Any

from holdfast.shared.metrics.measures import CALLS, Family, Measures

SAMPLE_SECONDS = 0.1

_LAG_SECONDS = "holdfast_stream_lag_seconds"
_AT = re.compile(rb'"at":(\d+)')  # the first one is the event's own: the agent's result follows it


def _counting(meaning: str) -> Any:
    return field(default=0, metadata={"meaning": meaning})


class StreamLag(Measures):
    """The seconds from a job's end, by the clock of its worker, to the write of that event to its live viewers.

    Deltas have no time. At most one end each SAMPLE_SECONDS is observed."""

    def __init__(self) -> None:
        super().__init__([Family(_LAG_SECONDS, "From a job's end to its write to live viewers", (), CALLS)])
        self._next_s = 0.0

    def sample(self, body: bytes) -> None:
        """Observe an end that was written to its viewers just now, if a sample is due. `body`: its JSON."""
        now_s = time.monotonic()
        if now_s >= self._next_s and (at := _AT.search(body)) is not None:
            self._next_s = now_s + SAMPLE_SECONDS
            self.observe(_LAG_SECONDS, max(time.time() - int(at[1]) / 1000, 0))


@dataclass(slots=True)
class Counters:
    """`viewers` is a gauge; all others only increase. Each has its meaning, for people, in its metadata."""

    viewers: int = _counting("Connected viewers")
    streams: int = _counting("Event streams started")
    events: int = _counting("Events delivered, counted once per viewer")
    bytes: int = _counting("Bytes of stream bodies before compression")
    catch_up_pages: int = _counting("Pages of the log that were sent to viewers which were behind")
    catch_ups: int = _counting("Times a live viewer fell behind and caught up from the log")
    gaps: int = _counting("Gaps announced to viewers")
    slow_closed: int = _counting("Viewers dropped because a write was blocked for longer than the send deadline")
    refused: int = _counting("Event streams refused because the process was full or stopping")
    reconnects: int = _counting("Times the connection that tails the logs was lost and re-established")
    lag: StreamLag = field(default_factory=StreamLag)
