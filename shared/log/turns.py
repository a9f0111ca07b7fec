"""Read the messages of an unfinished job from its session's log.

The log is read backwards: the reader skips events that a later attempt discarded, and of more events than a
conversation holds, it leaves out the oldest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import orjson
import structlog
from holdfast.shared.ids import EventId, parse_id
from holdfast.shared.job_record import placed
from holdfast.shared.keys import session_keys
from holdfast.shared.log.conversation import FOLDED, Fold
from holdfast.shared.log.entries import Entry, bodies_of
from holdfast.shared.log.event_log import EventLog
from holdfast.shared.log.events import MALFORMED, STARTED
from holdfast.shared.redis.log_connections import LogConnections
from holdfast.shared.telemetry import Once

log = structlog.get_logger()

READ_BYTES = 32 * 1024 * 1024  # read at most so much of a log for one turn
PAGE_BYTES = 256 * 1024
FIRST_PAGE_EVENTS = 100
SMALLEST_PAGE_EVENTS = 10
LARGEST_PAGE_EVENTS = 100  # 25 MiB of the largest events, which take about 20 ms


class TurnReader:
    """Reads the turns of jobs that have not ended. Those of ended jobs are in the conversation."""

    def __init__(self, connections: LogConnections) -> None:
        self._connections = connections
        self._log = EventLog(connections)
        self._keyring = connections.keyring
        self._reported = Once()

    async def read(self, session_id: str, job_id: str, below: EventId | None = None) -> list[bytes]:
        """Return the messages of a job's input and its events, each as JSON; with `below` only of events below that id.

        Events that a later attempt discarded are left out. Empty for a job that has not started. Linear in the events,
        of which at most the newest READ_BYTES are read; the event loop runs other tasks after each page. Raises
        RedisError when the server does not answer."""
        fields = [f"{job_id}:first", f"{job_id}:input"]
        redis = self._connections.connection_for(session_id).redis
        first, given = await redis.hmget(session_keys(session_id).jobs, fields)
        if first is None or given is None:
            return []
        (given,) = await self._keyring.opened(session_id, placed(job_id, {"input": given}))
        kept = _Kept(job_id, parse_id(first), below)
        await self._collect(session_id, kept)
        messages = await _folded(kept, orjson.loads(given))
        if kept.malformed and self._reported.add((session_id, job_id)):
            log.warning(
                "malformed events in a log; left out of the conversation",
                session_id=session_id,
                job_id=job_id,
                events=kept.malformed,
            )
        return messages

    async def _collect(self, session_id: str, kept: _Kept) -> None:
        count, left = FIRST_PAGE_EVENTS, READ_BYTES
        while left > 0 and not kept.complete:
            entries, below = await self._log.backwards(session_id, kept.first, kept.below, count)
            kept.take(reversed(list(entries)))
            if below is None:
                return
            kept.pass_over(below)
            size = sum(map(len, bodies_of(entries)))
            left -= size
            count = min(max(count * PAGE_BYTES // max(size, 1), SMALLEST_PAGE_EVENTS), LARGEST_PAGE_EVENTS)


class _Kept:
    """The events of a job that were not discarded, newest first. Those not read yet are below `below`."""

    def __init__(self, job_id: str, first: EventId, below: EventId | None) -> None:
        self.job_id = job_id
        self.first = first
        self.below = below
        self.kinds: list[str] = []
        self.bodies: list[bytes] = []
        self.malformed = 0

    @property
    def complete(self) -> bool:
        return self.below is not None and self.below <= self.first

    def take(self, entries: Iterable[Entry]) -> None:
        """Add a page of the log, newest entry first."""
        for entry in entries:
            if self.below is not None and entry.id >= self.below:
                continue
            self.below = entry.id
            if entry.job_id != self.job_id:
                continue
            if entry.kind in FOLDED:
                self.kinds.append(entry.kind)
                self.bodies.append(entry.body)
            elif entry.kind == STARTED:
                self._discard(entry.body)

    def pass_over(self, below: EventId) -> None:
        """Continue below the id of a foreign entry."""
        self.below = below if self.below is None else min(self.below, below)

    def _discard(self, started: bytes) -> None:
        """Skip what the start at `below` discarded: everything from its `discard_from` on."""
        try:
            discard_from = orjson.loads(started).get("discard_from")
            if discard_from is not None and self.below is not None:
                self.below = min(self.below, parse_id(discard_from))
        except MALFORMED:
            self.malformed += 1


async def _folded(kept: _Kept, given: Any) -> list[bytes]:
    fold = Fold(kept.job_id, given, truncated=not kept.complete)
    events = size = 0
    for kind, body in zip(reversed(kept.kinds), reversed(kept.bodies), strict=True):
        kept.malformed += not fold.add(kind, body)
        events, size = events + 1, size + len(body)
        if events == LARGEST_PAGE_EVENTS or size >= PAGE_BYTES:
            await asyncio.sleep(0)
            events = size = 0
    return fold.messages()
