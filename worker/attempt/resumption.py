"""Continue a job after earlier attempts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import orjson
import structlog
from holdfast.shared.ids import EventId
from holdfast.shared.log.conversation import Message
from holdfast.shared.log.events import ASKED, STARTED, encode, encode_event
from holdfast.shared.log.log_replies import Outcome, Recorded
from holdfast.worker.attempt.attempt_context import AttemptContext
from holdfast.worker.attempt.budget import Budget
from holdfast.worker.attempt.intents import Questions
from holdfast.worker.attempt.journal import Journal, current_step
from holdfast.worker.attempt.kept import KeptEvents
from holdfast.worker.attempt.replay import Replay
from holdfast.worker.attempt.writer import Writer
from holdfast.worker.sdk.run import Run, RunEnded, Sink

log = structlog.get_logger()


class Resumption:
    """Gives a run the journal of its job and the replay of earlier attempts, and writes to the log for both."""

    def __init__(
        self, context: AttemptContext, writer: Writer, run: Run, questions: Questions, budget: Budget | None
    ) -> None:
        self._context = context
        self._writer = writer
        self._run = run
        self._questions = questions
        self._budget = budget
        self._live: Sink = budget or writer
        self._replay: Replay | None = None

    async def begin(self, history: list[Message]) -> None:
        """Load what earlier attempts recorded, and begin the run."""
        context, attempt = self._context, self._context.attempt
        kept, recorded = await self._kept(), Recorded({}, {}, {})
        if attempt.number > 1:
            recorded = await context.retry(context.log_writer.recorded, attempt.session_id, attempt.job_id)
        journal = Journal(attempt.job_id, self._writer, self, recorded=recorded, kept=kept)
        if kept:  # none of these events is to be emitted again
            keys = {**context.log_keys, "attempt": attempt.number}
            self._replay = journal.follower = Replay(self._live, kept, journal, self, log_keys=keys, again=self._writer)
            self._run.emit_to(self._replay)
        self._run.begin(history, journal)

    async def finish(self) -> None:
        """Handle the return of the agent."""
        if self._replay is not None:
            await self._replay.finish()

    async def leave(self) -> None:
        """Handle the end of the job, whatever its agent does."""
        if self._replay is not None:
            await self._replay.leave(RunEnded())

    def close(self) -> None:
        """Stop: nothing more is written."""
        if self._replay is not None:
            self._replay.close(RunEnded())

    # The log of the journal.

    async def record(self, resume: EventId, outcomes: Sequence[Outcome]) -> None:
        context, attempt = self._context, self._context.attempt
        owner = attempt.session_id, attempt.job_id, attempt.epoch
        write = partial(context.log_writer.record, *owner, resume, outcomes)
        await context.outage.retry_until_available(
            write, writes=True, unless_full=lambda: self._writer.gives_up_when_full
        )

    async def ask(self, question_id: str, event: dict[str, Any], known: bytes | None) -> Any:
        """Append the question to the log, and wait for the answer unless an earlier attempt got one."""
        step = current_step()
        if step is None or not step.is_repeated or known is None:
            emitter = self._replay or self._live
            await emitter.put(ASKED, encode_event(event), step)
            await emitter.flush()
        return orjson.loads(await self._questions.answer(question_id) if known is None else known)

    async def confirm(self) -> None:
        attempt = self._context.attempt
        await self._context.retry(self._context.log_writer.confirm, attempt.session_id, attempt.epoch)

    def note(self, kind: str, body: bytes) -> None:
        self._run.note(kind, body)

    def truncate(self) -> None:
        log.warning("events were trimmed", **self._context.log_keys)
        self._context.transcript.truncate()

    # The log of the replay.

    async def rewind(self, discard_from: EventId) -> EventId:
        attempt = self._context.attempt
        body = {
            "type": STARTED,
            "job_id": attempt.job_id,
            "at": time.time_ns() // 1_000_000,
            "agent": attempt.agent,
            "attempt": attempt.number,
            "after": attempt.after or None,
            "discard_from": str(discard_from),
            "input": orjson.Fragment(attempt.input),
        }
        await self._writer.put(STARTED, encode(body))
        await self._writer.flush()
        return self._writer.id_of(1)  # the replay writes nothing before its comparison is complete

    def keep(self, kind: str, body: bytes) -> None:
        self._context.transcript.add(kind, body)
        self._run.note(kind, body)
        if self._budget is not None:
            self._budget.meter.keep(kind, body)

    def on_caught_up(self) -> None:
        self._run.emit_to(self._live)

    async def _kept(self) -> KeptEvents | None:
        """Return the kept events of earlier attempts; None in the first attempt."""
        context, attempt = self._context, self._context.attempt
        if attempt.first is None or attempt.discard_from is None:
            return None
        events, place = context.log_writer.log, (attempt.session_id, attempt.job_id)
        discards = await context.retry(events.discards, *place)
        return KeptEvents(
            events, context.outage, *place, first=attempt.first, until=attempt.discard_from, discards=discards
        )
