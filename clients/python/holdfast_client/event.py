"""Events, as the gateway sends them, and their ids."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from .errors import ProtocolError

STARTED = "job.started"
TERMINAL = frozenset({"job.completed", "job.failed", "job.cancelled"})
DELETED = "session.deleted"
GAP = "gap"

EventId = tuple[int, int]
"""An id as two numbers, which is how ids compare."""

ORIGIN: EventId = (0, 0)


def parse_id(text: str) -> EventId:
    """Parse `<epoch>-<seq>`. Raises ProtocolError."""
    epoch, dash, seq = text.partition("-")
    if not (dash and epoch.isdecimal() and seq.isdecimal()):
        raise ProtocolError(f"{text[:80]!r} is not an event id")
    return int(epoch), int(seq)


@dataclass(frozen=True, slots=True)
class Event:
    """One event. `body`: its fields, docs/protocol.md, "Events". `id`: None for events that are not in the log, such as
    `job.queued`."""

    id: str | None
    body: dict[str, Any]

    @property
    def type(self) -> str:
        return str(self.body.get("type"))

    @property
    def job_id(self) -> str | None:
        return self.body.get("job_id")

    @classmethod
    def parse(cls, event_id: str | None, data: str) -> Event:
        """Parse the data of a frame. Raises ProtocolError."""
        try:
            body = json.loads(data)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise ProtocolError(f"an event is not a JSON object: {data[:80]!r}")
        return cls(event_id, body)
