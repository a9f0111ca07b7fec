"""Append the events of one attempt to its session's log: in order, in batches, with retries, exactly once.

Deltas are buffered for a short window after the previous append; other events are sent at once. One append is in flight
at a time. With a valid permit it is sent without the script and without a task. Unless Redis confirms it, the script
then decides. Acknowledged events are retained for a while, so that a log that lost its tail gets them back under the
same ids.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

import orjson
from holdfast.shared.errors import LogFull, LogGone
from holdfast.shared.events import ASKED, DELTAS, STARTED, TERMINAL
from holdfast.shared.failpoints import failpoint
from holdfast.shared.ids import EventId, parse_id
from holdfast.shared.log_writer import Appended, AppendOutcome, AppendPermit, Event, Finished, LogBehind
from holdfast.worker.journal import Step
from holdfast.worker.outage import Outage

Answer = TypeVar("Answer")
BY_SCRIPT = frozenset({ASKED, STARTED})  # each changes its job's record, by a script of its own
UNBATCHED = TERMINAL | BY_SCRIPT
CHECKPOINT = b',"checkpoint":true}'


class Bounds(NamedTuple):
    """Limits of a writer: of one append, of its buffer (beyond which `put` waits), and of the retained events."""

    batch_events: int = 256
    batch_bytes: int = 512 * 1024
    waiting_events: int = 1000
    waiting_bytes: int = 1024 * 1024
    kept_events: int = 1000
    kept_bytes: int = 256 * 1024


class Log(Protocol):
    """The methods of shared.log_writer.LogWriter that a writer uses."""

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

    def after(self, seq: int) -> list[Event]:
        """Return the events above the seq. Raises LogGone when not all of them are retained."""
        missing = self.seq - seq
        if missing > len(self._events):
            raise LogGone(f"the log lost {missing} events, {len(self._events)} are retained")
        return list(self._events)[len(self._events) - missing :]


class Writer:
    """The writer of one attempt. It continues after the first entry of the attempt's epoch.

    `on_intent` is called when intents are pending for the lease owner; `on_lost` with the error when this attempt can
    write no more, Fenced or LogGone; `on_written` with each batch once it is in the log. `intents_read_at`: when the
    log last reported whether intents are pending, in seconds of the event loop's clock. `gives_up_when_full`: from now
    on drop events for which a full Redis has no memory, instead of waiting.
    """

    def __init__(
        self,
        log: Log,
        outage: Outage,
        *,
        session_id: str,
        job_id: str,
        epoch: int,
        window_s: float,
        on_intent: Callable[[], None],
        on_lost: Callable[[Exception], None],
        on_written: Callable[[Sequence[Event]], None],
        bounds: Bounds = Bounds(),  # noqa: B008 - immutable
    ) -> None:
        self._log = log
        self._outage = outage
        self._session_id = session_id
        self._job_id = job_id
        self._epoch = epoch
        self._window_s = window_s
        self._loop = asyncio.get_running_loop()
        self._on_intent, self._on_lost, self._on_written = on_intent, on_lost, on_written
        self._bounds = bounds
        self._tail = Tail(1, bounds)
        self._waiting: deque[Event] = deque()
        self._waiting_bytes = 0
        self._put = 0
        self._done = 0
        self._at_checkpoint = False
        self._offsets = [(0, 1)]  # (n, by how much the seq of each event put after the nth exceeds its number)
        self._in_flight = asyncio.Lock()
        self._flusher: asyncio.Task[None] | None = None
        self.intents_read_at = float("-inf")
        self._permit: AppendPermit | None = None
        self._renewing: AppendPermit | None = None  # the permit whose renewal is in flight
        self._sending: list[Event] = []  # in flight without the script
        self._unsure = False  # the outcome of the last such append is unknown
        self._appended_at = float("-inf")
        self._urgent = False
        self._timer: asyncio.TimerHandle | None = None
        self._watchers: list[asyncio.Future[None]] = []
        self._error: Exception | None = None
        self.gives_up_when_full = False
        self._dropped = False

    def checkpoint(self) -> int:
        """Return the number of events put so far. A takeover may discard later ones, so a delta that follows is marked
        and never merged with those before."""
        self._at_checkpoint = True
        return self._put

    def id_of(self, number: int) -> EventId:
        """Return the id of the nth event put, once it is in the log; 0 is the start of the attempt."""
        offset = next(offset for before, offset in reversed(self._offsets) if before < max(number, 1))
        return EventId(self._epoch, number + offset)

    async def put(self, kind: str, body: bytes, step: Step | None = None) -> None:
        """Buffer an event. Waits while the buffer is full. Raises Fenced or LogGone.

        `step`: the one in which the event is emitted."""
        while self._is_full():
            await self._progress()
        self._raise_error()
        if self._at_checkpoint:
            self._at_checkpoint = False
            body = marked(body) if kind in DELTAS else body
        self._waiting.append(Event(kind, self._job_id, body))
        self._waiting_bytes += len(body)
        self._put += 1
        if step is not None:
            step.emitted(self._put)
        if kind not in DELTAS or self._is_full():
            self._urgent = True
        self._go()

    async def flush(self) -> None:
        """Wait until all events put so far are in the log. Raises Fenced, LogGone, or LogFull where some were
        dropped."""
        target = self._put
        while self._done < target:
            self._send_now()
            await self._progress()
        self._raise_error()
        if self._dropped:
            raise LogFull

    async def finish(
        self, event: Event, *, messages: Callable[[], Sequence[bytes]], usage: Callable[[], bytes]
    ) -> Finished:
        """Write the buffered events, then the job's terminal event, also at maxmemory.

        `messages` and `usage` are called once all other events are written. Raises Fenced or LogGone."""
        with suppress(LogFull):
            await self.flush()
        return await self._end(event, messages(), usage())

    async def end_waiting(self, event: Event) -> Finished:
        """Write the end of another job of the session's backlog. Raises Fenced or LogGone."""
        return await self._end(event, (), b"")

    def stop(self, error: Exception) -> None:
        """Stop writing. Pending and later calls raise the error."""
        if self._error is None:
            self._error = error
            self._permit = None
            self._cancel_timer()
            self._drop_waiting()
            if self._flusher is not None and self._flusher is not asyncio.current_task():
                self._flusher.cancel()

    def _go(self) -> None:
        """Send the buffered events, or set a timer for the end of the window."""
        if self._sending or self._flusher is not None or not self._waiting:
            return
        left_s = self._left_s()
        if left_s > 0:
            if self._timer is None:
                self._timer = self._loop.call_later(left_s, self._window_passed)
        elif not self._send():
            self._flusher = self._loop.create_task(self._drain())

    def _left_s(self) -> float:
        """Return the seconds for which deltas may still be buffered."""
        return 0 if self._urgent else self._appended_at + self._window_s - self._loop.time()

    def _window_passed(self) -> None:
        self._timer = None
        self._send_now()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _send_now(self) -> None:
        """Send the buffered events now."""
        self._urgent = True
        self._go()

    def _send(self) -> bool:
        """Send a batch without the script. Returns False where that is not allowed now."""
        now = self._loop.time()
        if self._permit is None or self._in_flight.locked() or not self._permit.is_valid(now):
            return False
        batch = self._next_batch()
        if batch[0].kind in BY_SCRIPT:
            return False
        self._begin(now, more=len(batch) < len(self._waiting))
        self._sending = batch
        first = EventId(self._epoch, self._tail.seq + 1)
        self._log.append_plain(self._permit, self._session_id, first, batch, self._sent)
        return True

    def _sent(self, outcome: AppendOutcome) -> None:
        """Handle the outcome. Unless it is ADDED, the script must append the batch, and what follows until it
        succeeds."""
        batch, self._sending = self._sending, []
        if self._error is None and outcome is AppendOutcome.ADDED:
            try:
                failpoint("after_append_before_ack")
                self._acknowledge(batch)
                self._renew_permit()
            except Exception as error:  # noqa: BLE001 - as in _drain
                self._fail(error)
        elif self._error is None:
            self._permit, self._unsure, self._urgent = None, outcome is AppendOutcome.UNKNOWN, True
        self._wake()
        self._go()

    def _renew_permit(self) -> None:
        """Renew the permit if it is due. No append is in flight, so the tail ends as the log should."""
        permit = self._permit
        if permit is not None and permit is not self._renewing and permit.needs_renewal(self._loop.time()):
            self._renewing = permit
            self._log.renew_permit(
                permit, self._session_id, EventId(self._epoch, self._tail.seq), partial(self._renewed, permit)
            )

    def _renewed(self, permit: AppendPermit, answer: Appended | None) -> None:
        """Handle the renewal, unless the permit was lost or replaced meanwhile."""
        if self._permit is permit:
            self._permit = None
            if answer is not None:
                self._keep_permit(answer)

    def _keep_permit(self, answer: Appended) -> None:
        """Store the permit, and report pending intents."""
        self._permit = answer.permit
        if answer.permit is not None:
            self.intents_read_at = answer.permit.at
        if answer.attention:
            self._on_intent()

    async def _drain(self) -> None:
        """Append while events are due. Runs only while there is something to write."""
        try:
            while self._waiting and self._left_s() <= 0 and not self._send():
                async with self._in_flight:
                    await self._append()
        except Exception as error:  # noqa: BLE001 - Fenced, LogGone, or a bug: the attempt is over
            self._fail(error)
        finally:
            self._flusher = None
        self._go()

    def _begin(self, now: float, *, more: bool) -> None:
        """Start an append. `more`: further events are buffered, so the next append does not wait for the window."""
        self._urgent = more
        self._appended_at = now
        self._cancel_timer()
        failpoint("before_append")

    async def _append(self) -> None:
        """Append a batch by the script. `_in_flight` is held."""
        batch = self._next_batch()
        if not batch:
            return
        self._begin(self._loop.time(), more=len(batch) < len(self._waiting))
        self._permit = None
        try:
            appended = await self._retry(
                lambda: self._write(self._tail.seq, batch),
                writes=True,
                unless_full=lambda: self.gives_up_when_full,
            )
        except LogFull:
            self._dropped = True
            self._drop_waiting()
            return
        failpoint("after_append_before_ack")
        self._unsure = False
        self._acknowledge(batch)
        self._keep_permit(appended)

    def _next_batch(self) -> list[Event]:
        """Return the oldest buffered events, as many as one append takes. They stay buffered until acknowledged."""
        batch: list[Event] = []
        size = 0
        for event in self._waiting:
            size += len(event.body)
            if batch and (len(batch) >= self._bounds.batch_events or size > self._bounds.batch_bytes):
                break
            if batch and (event.kind in BY_SCRIPT or batch[0].kind in BY_SCRIPT):
                break
            batch.append(event)
        return batch

    def _acknowledge(self, batch: list[Event]) -> None:
        for event in batch:
            self._waiting.popleft()
            self._waiting_bytes -= len(event.body)
        self._tail.extend(batch)
        self._done += len(batch)
        self._on_written(batch)
        self._wake()

    async def _end(self, event: Event, messages: Sequence[bytes], usage: bytes) -> Finished:
        async with self._in_flight:
            while self._sending:
                await self._progress()
            self._raise_error()
            try:
                if self._unsure:
                    await self._append()
                self._permit = None  # the script refuses events after the end
                finished = await self._retry(
                    lambda: self._log.finish(
                        self._session_id, self._epoch, self._tail.seq, event, messages=messages, usage=usage
                    )
                )
            except Exception as error:
                self._fail(error)
                raise
            if finished.seq is not None:
                self._tail.extend([event])
                self._offsets.append((self._done, self._tail.seq - self._done))
            return finished

    async def _retry(
        self,
        call: Callable[[], Awaitable[Answer]],
        *,
        writes: bool = False,
        unless_full: Callable[[], bool] = lambda: False,
    ) -> Answer:
        """Repeat the call until the log accepts it. Restores the tail of a log that lost it."""

        async def unless_stopped() -> Answer:
            self._raise_error()
            return await call()

        while True:
            try:
                return await self._outage.retry_until_available(unless_stopped, writes=writes, unless_full=unless_full)
            except LogBehind as behind:
                await self._rewrite(behind.top)

    async def _write(self, after_seq: int, batch: list[Event]) -> Appended:
        """Append a batch, or its only event by the script of that event."""
        event, place = batch[0], (self._session_id, self._epoch, after_seq)
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
        seq = top.seq if top.epoch == self._epoch else 0
        for batch in _batches(self._tail.after(seq), self._bounds.batch_events):
            try:
                await self._outage.retry_until_available(partial(self._write_again, seq, batch))
            except LogBehind:
                return  # it lost even more: the original call is repeated and finds the new top
            seq += len(batch)

    async def _write_again(self, after_seq: int, batch: list[Event]) -> None:
        if batch[0].kind in TERMINAL:
            await self._log.finish(self._session_id, self._epoch, after_seq, batch[0], messages=(), usage=b"")
        else:
            await self._write(after_seq, batch)

    def _fail(self, error: Exception) -> None:
        self.stop(error)
        self._on_lost(error)

    def _drop_waiting(self) -> None:
        self._unsure = False
        self._done += len(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0
        self._wake()

    def _is_full(self) -> bool:
        return len(self._waiting) >= self._bounds.waiting_events or self._waiting_bytes >= self._bounds.waiting_bytes

    async def _progress(self) -> None:
        """Wait until the log has acknowledged something, or the writer has stopped."""
        watcher = asyncio.get_running_loop().create_future()
        self._watchers.append(watcher)
        await watcher

    def _wake(self) -> None:
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            if not watcher.done():
                watcher.set_result(None)

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error


def marked(body: bytes) -> bytes:
    """Add a field to a delta that keeps it from being merged with those before it."""
    return body if body.endswith(CHECKPOINT) else body[:-1] + CHECKPOINT


def _batches(events: Sequence[Event], most: int) -> Iterator[list[Event]]:
    """Split events into batches, in order. One that changes its job's record is a batch of its own."""
    batch: list[Event] = []
    for event in events:
        if batch and (len(batch) == most or event.kind in UNBATCHED or batch[0].kind in UNBATCHED):
            yield batch
            batch = []
        batch.append(event)
    if batch:
        yield batch
