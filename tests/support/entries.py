"""Entries of one epoch, and what an SSE client makes of bytes."""

from __future__ import annotations

import orjson
from holdfast.shared.ids import EventId
from holdfast.shared.log.event_log import Entry

from tests.support.sse import Frame, SseParser

EPOCH = 1763683200123


def entry(seq: int, body: bytes, job_id: str = "j1", kind: str = "text.delta") -> Entry:
    return Entry(EventId(EPOCH, seq), kind, job_id, body, None)


def text(seq: int, job_id: str = "j1") -> Entry:
    body = orjson.dumps({"type": "text.delta", "job_id": job_id, "text": f"w{seq}", "part": 0})
    return entry(seq, body, job_id)


def parsed(wire: bytes) -> list[Frame]:
    return SseParser().feed(wire)
