"""Counters of the event streams of a process, as plain integers."""

from __future__ import annotations

from dataclasses import dataclass

MEANINGS = {
    "viewers": "Viewers connected now",
    "streams": "Event streams begun",
    "events": "Events handed out, each once for each viewer",
    "bytes": "Bytes of response bodies, before compression",
    "catch_ups": "Times that a live viewer fell behind and read the log by its own cursor",
    "gaps": "Gaps announced",
    "slow_closed": "Viewers dropped because they took nothing for too long",
    "refused": "Event streams refused because the process was full or stopping",
    "reconnects": "Times that the connection that tails the logs was lost and came back",
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
