"""The two ways in which an attempt appends to its session's log: by scripts, and without them while a permit is valid.

Also the events on both sides of an append: those that wait for it, and the newest ones behind it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

import orjson
from holdfast.shared.errors import LogGone
from holdfast.shared.ids import EventId, parse_id
from holdfast.shared.log.events import ASKED, STARTED, TERMINAL
from holdfast.shared.log.log_replies import Appended, AppendOutcome, AppendPermit, Event, Finished, LogBehind
from holdfast.shared.log.log_writer import LogWriter
from holdfast.worker.process.outage import Outage

BY_SCRIPT = frozenset({ASKED, STARTED})  # each changes its job's record, by a script of its own
UNBATCHED = TERMINAL | BY_SCRIPT

Answer = TypeVar("Answer")


class Bounds(NamedTuple):
    """Limits of a writer: of one append, of its buffer (beyond which `put` waits), and of the retained events."""

    batch_events: int = 256
    batch_bytes: int = 512 * 1024
    waiting_events: int = 1000
    waiting_bytes: int = 1024 * 1024
    kept_events: int = 1000
    kept_bytes: int = 256 * 1024


class Buffer:
    """The events that wait for an append. `put` and `done`: how many were added so far, and how many were removed."""

    def __init__(self, bounds: Bounds) -> None:
        self.put = 0
        self.done = 0
        self.events: deque[Event] = deque()
        self._bytes = 0
        self._bounds = bounds

    def add(self, event: Event) -> None:
        self.events.append(event)
        self._bytes += len(event.body)
        self.put += 1

    def is_full(self) -> bool:
        return len(self.events) >= self._bounds.waiting_events or self._bytes >= self._bounds.waiting_bytes

    def next_batch(self) -> list[Event]:
        """Return the oldest events, as many as one append takes. They stay in the buffer until they are removed."""
        batch: list[Event] = []
        size = 0
        for event in self.events:
            size += len(event.body)
            if batch and (len(batch) >= self._bounds.batch_events or size > self._bounds.batch_bytes):
                break
            if batch and (event.kind in BY_SCRIPT or batch[0].kind in BY_SCRIPT):
                break
            batch.append(event)
        return batch

    def remove(self, batch: Sequence[Event]) -> None:
        for event in batch:
            self.events.popleft()
            self._bytes -= len(event.body)
        self.done += len(batch)

    def clear(self) -> None:
        self.done += len(self.events)
        self.events.clear()
        self._bytes = 0


class Tail:
    """The newest acknowledged events. `seq`: that of the last one."""

    def __init__(self, seq: int, bounds: Bounds) -> None:
        self.seq = seq
        self._bounds = bounds
        self._events: deque[Event] = deque()
        self._bytes = 0

    def extend(self, events: Iterable[Event]) -> None:
        for event in events:
            self._events.append(event)
            self._bytes += len(event.body)
            self.seq += 1
        while len(self._events) > self._bounds.kept_events or self._bytes > self._bounds.kept_bytes:
            self._bytes -= len(self._events.popleft().body)

    def batches_after(self, seq: int) -> Iterator[list[Event]]:
        """Split the events above the seq into batches. One that changes its job's record is a batch of its own.

        Raises LogGone when not all of them are retained."""
        missing = self.seq - seq
        if missing > len(self._events):
            raise LogGone(f"the log lost {missing} events, {len(self._events)} are retained")
        batch: list[Event] = []
        for event in list(self._events)[len(self._events) - missing :]:
            full = len(batch) == self._bounds.batch_events
            if batch and (full or event.kind in UNBATCHED or batch[0].kind in UNBATCHED):
                yield batch
                batch = []
            batch.append(event)
        if batch:
            yield batch


class WriterListener(Protocol):
    """The attempt whose events a writer appends."""

    def on_written(self, events: Sequence[Event]) -> None:
        """Handle a batch that is in the log."""

    def on_intents_read(self, at: float, *, pending: bool) -> None:
        """Handle the log's report whether intents are pending. `at`: seconds of the event loop's clock."""

    def on_lost(self, error: Exception) -> None:
        """Stop the attempt, which can write no more: Fenced or LogGone."""


class Progress:
    """Lets callers wait until a writer has made progress. `error`: why it has stopped."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self._watchers: list[asyncio.Future[None]] = []

    async def wait(self) -> None:
        watcher = asyncio.get_running_loop().create_future()
        self._watchers.append(watcher)
        await watcher

    def wake(self) -> None:
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            if not watcher.done():
                watcher.set_result(None)

    def raise_error(self) -> None:
        if self.error is not None:
            raise self.error


class ScriptAppends:
    """Appends by scripts until the log accepts it, and first restores the tail of a log that lost it."""

    def __init__(
        self, log: LogWriter, outage: Outage, progress: Progress, session_id: str, epoch: int, bounds: Bounds
    ) -> None:
        self.tail = Tail(1, bounds)
        self._log = log
        self._outage = outage
        self._progress = progress
        self._place = session_id, epoch

    async def append(self, batch: Sequence[Event], unless_full: Callable[[], bool]) -> Appended:
        """Append a batch after the tail. Raises Fenced, LogGone, or LogFull where `unless_full` returns True."""
        return await self._retry(lambda: self._write(self.tail.seq, batch), writes=True, unless_full=unless_full)

    async def finish(self, event: Event, messages: Sequence[bytes], usage: bytes) -> Finished:
        """Append the end of a job after the tail. Raises Fenced, LogGone."""
        return await self._retry(
            lambda: self._log.finish(*self._place, self.tail.seq, event, messages=messages, usage=usage)
        )

    async def _retry(
        self,
        call: Callable[[], Awaitable[Answer]],
        *,
        writes: bool = False,
        unless_full: Callable[[], bool] = lambda: False,
    ) -> Answer:
        async def unless_stopped() -> Answer:
            self._progress.raise_error()
            return await call()

        while True:
            try:
                return await self._outage.retry_until_available(unless_stopped, writes=writes, unless_full=unless_full)
            except LogBehind as behind:
                await self._rewrite(behind.top)

    async def _write(self, after_seq: int, batch: Sequence[Event]) -> Appended:
        """Append a batch, or its only event by the script of that event."""
        event, place = batch[0], (*self._place, after_seq)
        if event.kind not in BY_SCRIPT:
            return await self._log.append(*place, batch)
        fields = orjson.loads(event.body)
        if event.kind == ASKED:
            seq = await self._log.ask(*place, event, fields["question_id"])
        else:
            seq = await self._log.rewind(*place, event, parse_id(fields["discard_from"]))
        return Appended(seq, attention=False)

    async def _rewrite(self, top: EventId) -> None:
        """Write the lost tail of the log again, under the same ids."""
        seq = top.seq if top.epoch == self._place[1] else 0
        for batch in self.tail.batches_after(seq):
            try:
                await self._outage.retry_until_available(partial(self._write_again, seq, batch))
            except LogBehind:
                return  # it lost even more: the original call is repeated and finds the new top
            seq += len(batch)

    async def _write_again(self, after_seq: int, batch: Sequence[Event]) -> None:
        if batch[0].kind in TERMINAL:
            await self._log.finish(*self._place, after_seq, batch[0], messages=(), usage=b"")
        else:
            await self._write(after_seq, batch)


class PlainAppends:
    """Appends without the script while a permit is valid, and renews the permit.

    `sending`: the batch in flight. `unsure`: the outcome of the last append is unknown."""

    def __init__(self, log: LogWriter, listener: WriterListener, tail: Tail, session_id: str, epoch: int) -> None:
        self.sending: list[Event] = []
        self.unsure = False
        self._log = log
        self._listener = listener
        self._tail = tail
        self._session_id = session_id
        self._epoch = epoch
        self._permit: AppendPermit | None = None
        self._renewing: AppendPermit | None = None  # the permit whose renewal is in flight

    def send(self, batch: list[Event], on_reply: Callable[[AppendOutcome], None]) -> None:
        """Append a batch after the tail. `on_reply` must clear `sending`."""
        assert self._permit is not None
        self.sending = batch
        first = EventId(self._epoch, self._tail.seq + 1)
        self._log.append_plain(self._permit, self._session_id, first, batch, on_reply)

    def is_allowed(self, now: float) -> bool:
        return self._permit is not None and self._permit.is_valid(now)

    def allow(self, answer: Appended) -> None:
        """Store the permit of a reply of the log, and report whether intents are pending."""
        self._permit = answer.permit
        if answer.permit is not None:
            self._listener.on_intents_read(answer.permit.at, pending=answer.attention)

    def forbid(self) -> None:
        """Require the script for the next append."""
        self._permit = None

    def renew(self, now: float) -> None:
        """Renew the permit if it is due. No append is in flight, so the tail ends as the log should."""
        permit = self._permit
        if permit is not None and permit is not self._renewing and permit.needs_renewal(now):
            self._renewing = permit
            last = EventId(self._epoch, self._tail.seq)
            self._log.renew_permit(permit, self._session_id, last, partial(self._renewed, permit))

    def _renewed(self, permit: AppendPermit, answer: Appended | None) -> None:
        """Handle the renewal, unless the permit was lost or replaced meanwhile."""
        if self._permit is permit:
            self._permit = None
            if answer is not None:
                self.allow(answer)
