"""The two ends of a simulated session: what a worker appends, and what viewers get."""

from __future__ import annotations

import asyncio
import time

from holdfast.gateway.stream.batch import Batch
from holdfast.shared.ids import EventId
from holdfast.shared.log.log_replies import AppendOutcome, AppendPermit, Attempt, Event
from holdfast.shared.log.log_writer import LogWriter

from bench.peers.holdfast import JOB

EVENT = Event("text.delta", JOB, b'{"type":"text.delta","job_id":"%s","text":"token ","part":0}' % JOB.encode())


class Writer:
    """Appends the events of one session, as a worker that emits one at a time. `sent_s`: when each was sent."""

    def __init__(self, log_writer: LogWriter, attempt: Attempt) -> None:
        self._log_writer = log_writer
        self.attempt = attempt
        self.seq = 1
        self.sent_s: list[float] = []
        self._permit: AppendPermit | None = None
        self._appending: asyncio.Task[None] | None = None
        self._in_flight = False

    @property
    def last(self) -> EventId:
        return EventId(self.attempt.epoch, self.seq)

    def write(self) -> None:
        """Append the next event, if the one before is in the log."""
        if self._in_flight:
            return
        self._in_flight = True
        self.sent_s.append(time.monotonic())
        permit, session_id = self._permit, self.attempt.session_id
        if permit is not None and permit.is_valid(asyncio.get_running_loop().time()):
            first = EventId(self.attempt.epoch, self.seq + 1)
            self._log_writer.append_plain(permit, session_id, first, [EVENT], self._on_reply)
        else:
            self._appending = asyncio.create_task(self._append())

    def _on_reply(self, outcome: AppendOutcome) -> None:
        if outcome is AppendOutcome.ADDED:
            self.seq += 1
            self._in_flight = False
        else:
            self._appending = asyncio.create_task(self._append())

    async def _append(self) -> None:
        appended = await self._log_writer.append(self.attempt.session_id, self.attempt.epoch, self.seq, [EVENT])
        self.seq, self._permit, self._in_flight = self.seq + 1, appended.permit, False


class Watcher:
    """All viewers of a session at one gateway. Adds the seconds from the call of each append to its delivery to
    `lags_s`."""

    def __init__(self, writer: Writer, lags_s: list[float]) -> None:
        self.cursor = writer.last
        self._writer = writer
        self._lags_s = lags_s
        self._events = 0
        self._breaks = 0

    @property
    def missing(self) -> int:
        """How many events are not delivered yet, or broke the chain."""
        return self._writer.seq - 1 - self._events + self._breaks

    def deliver(self, batch: Batch) -> None:
        self.cursor = batch.last
        first, self._events = self._events, self._events + len(batch.entries)
        now = time.monotonic()
        self._lags_s.extend(now - sent_s for sent_s in self._writer.sent_s[first : self._events])

    def fall_behind(self) -> None:
        self._breaks += 1
