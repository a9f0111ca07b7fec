"""Counters of the event streams of a process, as plain integers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


def _counting(meaning: str) -> Any:
    return field(default=0, metadata={"meaning": meaning})


@dataclass(slots=True)
class Counters:
    """`viewers` is a gauge; all others only increase. Each has its meaning, for people, in its metadata."""

    viewers: int = _counting("Connected viewers")
    streams: int = _counting("Event streams started")
    events: int = _counting("Events delivered, counted once per viewer")
    bytes: int = _counting("Bytes of stream bodies before compression")
    catch_ups: int = _counting("Times a live viewer fell behind and caught up from the log")
    gaps: int = _counting("Gaps announced to viewers")
    slow_closed: int = _counting("Viewers dropped because a write was blocked for longer than the send deadline")
    refused: int = _counting("Event streams refused because the process was full or stopping")
    reconnects: int = _counting("Times the connection that tails the logs was lost and re-established")
