"""Counters of the event streams of a process, as plain integers."""

from __future__ import annotations

from dataclasses import dataclass

MEANINGS = {
    "viewers": "Connected viewers",
    "streams": "Event streams started",
    "events": "Events delivered, counted once per viewer",
    "bytes": "Bytes of stream bodies before compression",
    "catch_ups": "Times a live viewer fell behind and caught up from the log",
    "gaps": "Gaps announced to viewers",
    "slow_closed": "Viewers dropped because a write was blocked for longer than the send deadline",
    "refused": "Event streams refused because the process was full or stopping",
    "reconnects": "Times the connection that tails the logs was lost and re-established",
}


@dataclass(slots=True)
class Counters:
    """`viewers` is a gauge; all others only increase. MEANINGS describes each."""

    viewers: int = 0
    streams: int = 0
    events: int = 0
    bytes: int = 0
    catch_ups: int = 0
    gaps: int = 0
    slow_closed: int = 0
    refused: int = 0
    reconnects: int = 0
