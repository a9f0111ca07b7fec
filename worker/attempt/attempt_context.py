"""What the parts of one attempt share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from holdfast.shared.log.log_replies import Attempt, Event
from holdfast.shared.log.log_writer import LogWriter
from holdfast.worker.attempt.ending import Ending
from holdfast.worker.attempt.transcript import Transcript
from holdfast.worker.process.outage import Outage

Answer = TypeVar("Answer")


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
        self.intents_read_at = float("-inf")
        self.stopped: asyncio.Future[Ending | Exception] = asyncio.get_running_loop().create_future()

    @property
    def log_keys(self) -> dict[str, Any]:
        return {"session_id": self.attempt.session_id, "job_id": self.attempt.job_id}

    async def retry(self, call: Callable[..., Awaitable[Answer]], *arguments: Any) -> Answer:
        """Repeat a call until Redis accepts it."""
        return await self.outage.retry_until_available(partial(call, *arguments))

    def stop(self, reason: Ending | Exception) -> None:
        """Stop the attempt with this reason, unless there is one already."""
        if not self.stopped.done():
            self.stopped.set_result(reason)

    # The attempt as the writer's listener.

    def on_written(self, events: Sequence[Event]) -> None:
        self.transcript.add(events)

    def on_intents_read(self, at: float, *, pending: bool) -> None:
        self.intents_read_at = at
        if pending:
            self.on_intent()

    def on_lost(self, error: Exception) -> None:
        self.stop(error)
