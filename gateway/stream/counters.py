"""What the streams of a process count: plain integers, for whoever exposes them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """`viewers` is how many are connected now; everything else only grows.

    `events` counts each event once per viewer that it was handed to."""

    viewers: int = 0
    streams: int = 0
    events: int = 0
    bytes: int = 0
    catch_ups: int = 0
    gaps: int = 0
    slow_closed: int = 0
    refused: int = 0
    reconnects: int = 0
