"""What the parts of one attempt share, and the messages and the usage that its events amount to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import orjson
from holdfast.shared.log.conversation import Fold
from holdfast.shared.log.events import encode
from holdfast.shared.log.log_replies import Attempt, Event
from holdfast.shared.log.log_writer import LogWriter
from holdfast.shared.trace_context import trace_keys
from holdfast.worker.attempt.ending import Ending, timed_out
from holdfast.worker.process.measures import EventMeter
from holdfast.worker.process.outage import Outage

Answer = TypeVar("Answer")


MAX_TOKENS = 2**53 - 1  # what every JSON reader keeps exactly


class Transcript(Fold):
    """Folds the events of a job that count into messages for its session's conversation, and sums up its usage."""

    def __init__(self, job_id: str, given: Any) -> None:
        super().__init__(job_id, given)
        self._used: dict[str, Any] | None = None

    def add(self, kind: str, body: bytes) -> bool:
        if kind == "usage":
            event, used = orjson.loads(body), self._used or {"input_tokens": 0, "output_tokens": 0}
            self._used = {
                "input_tokens": min(used["input_tokens"] + event["input_tokens"], MAX_TOKENS),
                "output_tokens": min(used["output_tokens"] + event["output_tokens"], MAX_TOKENS),
                "model": event["model"],
            }
        return super().add(kind, body)

    def usage(self) -> bytes:
        """Return the sum of all usage so far as JSON; empty where there is none."""
        return b"" if self._used is None else encode(self._used)


class AttemptContext:
    """An attempt, the log that it writes to, its transcript, when its intents were last read, and why it stops.

    `on_intent` is called when intents are pending for the lease owner. `intents_read_at`: seconds of the event loop's
    clock."""

    def __init__(
        self, attempt: Attempt, given: Any, log_writer: LogWriter, outage: Outage, on_intent: Callable[[], None]
    ) -> None:
        self.attempt = attempt
        self.log_writer = log_writer
        self.outage = outage
        self.on_intent = on_intent
        self.transcript = Transcript(attempt.job_id, given)
        self._meter = EventMeter(attempt.agent)
        self.intents_read_at = float("-inf")
        self.stopped: asyncio.Future[Ending | Exception] = asyncio.get_running_loop().create_future()

    @property
    def log_keys(self) -> dict[str, Any]:
        attempt = self.attempt
        return {"session_id": attempt.session_id, "job_id": attempt.job_id, "attempt": attempt.number} | trace_keys(
            attempt.traceparent
        )

    async def retry(self, call: Callable[..., Awaitable[Answer]], *arguments: Any) -> Answer:
        """Repeat a call until Redis accepts it."""
        return await self.outage.retry_until_available(partial(call, *arguments))

    def stop(self, reason: Ending | Exception) -> None:
        """Stop the attempt with this reason, unless there is one already."""
        if not self.stopped.done():
            self.stopped.set_result(reason)

    def time_out(self) -> None:
        self.stop(timed_out(self.attempt.timeout_s))

    # The attempt as the writer's listener.

    def on_written(self, events: Sequence[Event]) -> None:
        for event in events:
            self.transcript.add(event.kind, event.body)
        self._meter.count(events)

    def on_intents_read(self, at: float, *, pending: bool) -> None:
        self.intents_read_at = at
        if pending:
            self.on_intent()

    def on_lost(self, error: Exception) -> None:
        self.stop(error)
