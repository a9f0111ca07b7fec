"""Append the events of one attempt to its session's log: in order, in batches, with retries, exactly once.

Deltas are buffered for a short window after the previous append; other events are sent at once. One append is in flight
at a time. With a valid permit it is sent without the script and without a task. Unless Redis confirms it, the script
then decides. Acknowledged events are retained for a while, so that a log that lost its tail gets them back under the
same ids.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from holdfast.shared.errors import LogFull
from holdfast.shared.failpoints import failpoint
from holdfast.shared.ids import EventId
from holdfast.shared.log.events import DELTAS
from holdfast.shared.log.log_replies import AppendOutcome, Event, Finished
from holdfast.shared.log.log_writer import LogWriter
from holdfast.worker.attempt.appends import (
    BY_SCRIPT,
    Bounds,
    Buffer,
    PlainAppends,
    Progress,
    ScriptAppends,
    WriterListener,
)
from holdfast.worker.attempt.journal import Step
from holdfast.worker.process.measures import APPEND, measures
from holdfast.worker.process.outage import Outage

_APPEND_SECONDS = measures.histogram(APPEND)
CHECKPOINT = b',"checkpoint":true}'


class Window:
    """Delays an append until the window behind the previous one has passed, unless it is `urgent`."""

    def __init__(self, seconds: float) -> None:
        self.urgent = False
        self.loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._appended_at = float("-inf")
        self._timer: asyncio.TimerHandle | None = None

    def left_s(self) -> float:
        """Return the seconds for which deltas may still be buffered."""
        return 0 if self.urgent else self._appended_at + self._seconds - self.loop.time()

    def call_later(self, left_s: float, passed: Callable[[], None]) -> None:
        """Call `passed` at the end of the window, once."""
        if self._timer is None:
            self._timer = self.loop.call_later(left_s, self._passed, passed)

    def restart(self, now: float, *, more: bool) -> None:
        """Start an append. `more`: further events are buffered, so the next append does not wait for the window."""
        self.urgent = more
        self._appended_at = now
        self.close()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def since_append_s(self) -> float:
        """Return the seconds since the start of the last append."""
        return self.loop.time() - self._appended_at

    def _passed(self, passed: Callable[[], None]) -> None:
        self._timer = None
        passed()


class Writer:
    """The writer of one attempt. It continues after the first entry of the attempt's epoch.

    `gives_up_when_full`: from now on drop events for which a full Redis has no memory, instead of waiting."""

    def __init__(
        self,
        log: LogWriter,
        outage: Outage,
        listener: WriterListener,
        *,
        session_id: str,
        job_id: str,
        epoch: int,
        window_s: float,
        bounds: Bounds = Bounds(),  # noqa: B008 - immutable
    ) -> None:
        self.gives_up_when_full = False
        self._listener = listener
        self._job_id = job_id
        self._epoch = epoch
        self._window = Window(window_s)
        self._buffer = Buffer(bounds)
        self._progress = Progress()
        self._scripts = ScriptAppends(log, outage, self._progress, session_id, epoch, bounds)
        self._plain = PlainAppends(log, listener, self._scripts.tail, session_id, epoch)
        self._in_flight = asyncio.Lock()
        self._flusher: asyncio.Task[None] | None = None
        self._at_checkpoint = False
        self._dropped = False
        self._offsets = [(0, 1)]  # (n, by how much the seq of each event put after the nth exceeds its number)

    def checkpoint(self) -> int:
        """Return the number of events put so far. A takeover may discard later ones, so a delta that follows is marked
        and never merged with those before."""
        self._at_checkpoint = True
        return self._buffer.put

    def id_of(self, number: int) -> EventId:
        """Return the id of the nth event put, once it is in the log; 0 is the start of the attempt."""
        offset = next(offset for before, offset in reversed(self._offsets) if before < max(number, 1))
        return EventId(self._epoch, number + offset)

    async def put(self, kind: str, body: bytes, step: Step | None = None) -> None:
        """Buffer an event. Waits while the buffer is full. Raises Fenced or LogGone.

        `step`: the one in which the event is emitted."""
        buffer = self._buffer
        while buffer.is_full():
            await self._progress.wait()
        self._progress.raise_error()
        if self._at_checkpoint:
            self._at_checkpoint = False
            body = marked(body) if kind in DELTAS else body
        buffer.add(Event(kind, self._job_id, body))
        if step is not None:
            step.emitted(buffer.put)
        if kind not in DELTAS or buffer.is_full():
            self._window.urgent = True
        self._go()

    async def flush(self) -> None:
        """Wait until all events put so far are in the log. Raises Fenced, LogGone, or LogFull where some were
        dropped."""
        target = self._buffer.put
        while self._buffer.done < target:
            self._send_now()
            await self._progress.wait()
        self._progress.raise_error()
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
        if self._progress.error is None:
            self._progress.error = error
            self._plain.forbid()
            self._window.close()
            self._drop_waiting()
            if self._flusher is not None and self._flusher is not asyncio.current_task():
                self._flusher.cancel()

    def _go(self) -> None:
        """Send the buffered events, or set a timer for the end of the window."""
        if self._plain.sending or self._flusher is not None or not self._buffer.events:
            return
        left_s = self._window.left_s()
        if left_s > 0:
            self._window.call_later(left_s, self._send_now)
        elif not self._send():
            self._flusher = self._window.loop.create_task(self._drain())

    def _send_now(self) -> None:
        """Send the buffered events now."""
        self._window.urgent = True
        self._go()

    def _send(self) -> bool:
        """Send a batch without the script. Returns False where that is not allowed now."""
        now = self._window.loop.time()
        if self._in_flight.locked() or not self._plain.is_allowed(now):
            return False
        batch = self._buffer.next_batch()
        if batch[0].kind in BY_SCRIPT:
            return False
        self._begin(now, batch)
        self._plain.send(batch, self._sent)
        return True

    def _sent(self, outcome: AppendOutcome) -> None:
        """Handle the outcome. Unless it is ADDED, the script must append the batch, and what follows until it
        succeeds."""
        plain, stopped = self._plain, self._progress.error is not None
        batch, plain.sending = plain.sending, []
        if not stopped and outcome is AppendOutcome.ADDED:
            try:
                failpoint("after_append_before_ack")
                self._acknowledge(batch)
                plain.renew(self._window.loop.time())
            except Exception as error:  # noqa: BLE001 - as in _drain
                self._fail(error)
        elif not stopped:
            plain.forbid()
            plain.unsure = outcome is AppendOutcome.UNKNOWN
            self._window.urgent = True
        self._progress.wake()
        self._go()

    async def _drain(self) -> None:
        """Append while events are due. Runs only while there is something to write."""
        try:
            while self._buffer.events and self._window.left_s() <= 0 and not self._send():
                async with self._in_flight:
                    await self._append()
        except Exception as error:  # noqa: BLE001 - Fenced, LogGone, or a bug: the attempt is over
            self._fail(error)
        finally:
            self._flusher = None
        self._go()

    def _begin(self, now: float, batch: Sequence[Event]) -> None:
        self._window.restart(now, more=len(batch) < len(self._buffer.events))
        failpoint("before_append")

    async def _append(self) -> None:
        """Append a batch by the script. `_in_flight` is held."""
        batch = self._buffer.next_batch()
        if not batch:
            return
        self._begin(self._window.loop.time(), batch)
        self._plain.forbid()
        try:
            appended = await self._scripts.append(batch, unless_full=lambda: self.gives_up_when_full)
        except LogFull:
            self._dropped = True
            self._drop_waiting()
            return
        failpoint("after_append_before_ack")
        self._plain.unsure = False
        self._acknowledge(batch)
        self._plain.allow(appended)

    def _acknowledge(self, batch: Sequence[Event]) -> None:
        _APPEND_SECONDS.observe(self._window.since_append_s())
        self._buffer.remove(batch)
        self._scripts.tail.extend(batch)
        self._listener.on_written(batch)
        self._progress.wake()

    async def _end(self, event: Event, messages: Sequence[bytes], usage: bytes) -> Finished:
        async with self._in_flight:
            while self._plain.sending:
                await self._progress.wait()
            self._progress.raise_error()
            try:
                if self._plain.unsure:
                    await self._append()
                self._plain.forbid()  # the script refuses events after the end
                finished = await self._scripts.finish(event, messages, usage)
            except Exception as error:
                self._fail(error)
                raise
            if finished.seq is not None:
                self._scripts.tail.extend([event])
                self._offsets.append((self._buffer.done, self._scripts.tail.seq - self._buffer.done))
            return finished

    def _fail(self, error: Exception) -> None:
        self.stop(error)
        self._listener.on_lost(error)

    def _drop_waiting(self) -> None:
        self._plain.unsure = False
        self._buffer.clear()
        self._progress.wake()


def marked(body: bytes) -> bytes:
    """Add a field to a delta that keeps it from being merged with those before it."""
    return body if body.endswith(CHECKPOINT) else body[:-1] + CHECKPOINT
