"""The two ways in which an attempt appends to its session's log: by scripts, and without them while a permit is
valid."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar

import orjson
from holdfast.shared.ids import EventId, parse_id
from holdfast.shared.log.events import ASKED, TERMINAL
from holdfast.shared.log.log_replies import Appended, AppendOutcome, AppendPermit, Event, Finished, LogBehind
from holdfast.worker.attempt.event_buffer import BY_SCRIPT, Bounds, Tail
from holdfast.worker.process.outage import Outage

Answer = TypeVar("Answer")


class Log(Protocol):
    """The methods of shared.log.log_writer.LogWriter that a writer uses."""

    async def append(self, session_id: str, epoch: int, after_seq: int, events: Sequence[Event]) -> Appended: ...
    def append_plain(
        self,
        permit: AppendPermit,
        session_id: str,
        first: EventId,
        events: Sequence[Event],
        on_reply: Callable[[AppendOutcome], None],
    ) -> None: ...
    def renew_permit(
        self, permit: AppendPermit, session_id: str, last: EventId, on_reply: Callable[[Appended | None], None]
    ) -> None: ...
    async def ask(self, session_id: str, epoch: int, after_seq: int, event: Event, question_id: str) -> int: ...
    async def rewind(self, session_id: str, epoch: int, after_seq: int, event: Event, discard_from: EventId) -> int: ...
    async def finish(
        self, session_id: str, epoch: int, after_seq: int, event: Event, *, messages: Sequence[bytes], usage: bytes
    ) -> Finished: ...


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
        self, log: Log, outage: Outage, progress: Progress, session_id: str, epoch: int, bounds: Bounds
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

    def __init__(self, log: Log, listener: WriterListener, tail: Tail, session_id: str, epoch: int) -> None:
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
        """Append a batch after the tail. `on_reply` must call `end`."""
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
