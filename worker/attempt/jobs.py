"""Run one attempt at a job: call the agent, write its events, write its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import orjson
import structlog
from holdfast.shared.day_usage import DayUsage
from holdfast.shared.errors import Fenced, LogGone, RedisRefused
from holdfast.shared.failpoints import failpoint
from holdfast.shared.log.events import COMPLETED
from holdfast.shared.log.log_replies import Attempt, Finished, Head
from holdfast.shared.log.log_writer import LogWriter
from holdfast.shared.log.session_claims import Retire
from holdfast.shared.sessions import Sessions
from holdfast.worker.attempt.agent_call import AgentCall
from holdfast.worker.attempt.attempt_context import AttemptContext
from holdfast.worker.attempt.budget import Budget
from holdfast.worker.attempt.ending import Ending, failed
from holdfast.worker.attempt.intents import Allowance, IntentPoller, Questions
from holdfast.worker.attempt.resumption import Resumption
from holdfast.worker.attempt.writer import Writer
from holdfast.worker.process.outage import Outage
from holdfast.worker.process.settings import WorkerSettings
from holdfast.worker.sdk.client import Client
from holdfast.worker.sdk.registry import Agent
from holdfast.worker.sdk.run import Run

# An agent that is cancelled has so long to clean up; then the end is written regardless.
STOPPING_SECONDS = 5.0

log = structlog.get_logger()


class Job:
    """One attempt at a job whose session this worker owns."""

    def __init__(
        self,
        attempt: Attempt,
        agent: Agent,
        settings: WorkerSettings,
        log_writer: LogWriter,
        sessions: Sessions,
        outage: Outage,
        *,
        on_intent: Callable[[], None],
        on_wait_changed: Callable[[], None],
        retire: Retire,
        day_usage: DayUsage | None = None,
    ) -> None:
        given = orjson.loads(attempt.input)
        self.context = context = AttemptContext(attempt, given, log_writer, outage, on_intent)
        self._writer = Writer(
            log_writer,
            outage,
            context,
            session_id=attempt.session_id,
            job_id=attempt.job_id,
            epoch=attempt.epoch,
            window_s=settings.batch_ms / 1000,
        )
        self._budget: Budget | None = None
        if attempt.budget or day_usage is not None:
            self._budget = Budget(context, self._writer, settings.prices, day_usage)
        self._run = Run(
            self._budget or self._writer,
            session_id=attempt.session_id,
            job_id=attempt.job_id,
            attempt=attempt.number,
            input=given,
            options=orjson.loads(attempt.options),
            metadata=orjson.loads(attempt.metadata),
            history=[],
            left=dict if self._budget is None else self._budget.left,
            check_day=None if self._budget is None else self._budget.check_day,
            models=frozenset(orjson.loads(attempt.models)) if attempt.models else None,
            client=Client(**orjson.loads(attempt.client)) if attempt.client else None,
        )
        # Without a reference to the job, which is thus freed at once and not by a later garbage collection.
        self._allowance = _allowance(context, self._budget)
        self._questions = Questions(context, self._allowance, settings.ask_seconds, on_wait_changed)
        self._intents = IntentPoller(context, self._writer, self._questions, retire)
        self._resumption = Resumption(context, self._writer, self._run, self._questions, self._budget)
        history = partial(context.retry, sessions.history, attempt.session_id, attempt.job_id)
        self._call = AgentCall(
            *(agent, self._run, self._resumption, history, attempt.traceparent), with_place=settings.error_places
        )

    @property
    def waits(self) -> bool:
        """Whether the job waits for a person; it takes no slot then."""
        return self._questions.waits

    async def run(self) -> tuple[Ending, Head | None]:
        """Run the job until its end is in the log. Returns the ending and the head of the backlog.

        Raises Fenced when another attempt has claimed the session, RedisRefused when Redis refuses every form of
        end."""
        context = self.context
        try:
            ending = await self._ending()
            failpoint("after_agent_before_finish")
            finished = await self._finish(ending)
        except LogGone as error:
            attempt = context.attempt
            refusal = await context.retry(context.log_writer.end_lost, attempt)
            if refusal.verdict != "ended" and await context.retry(context.log_writer.is_deleted, attempt.session_id):
                raise Fenced from error
            return failed(error), refusal.head
        except RedisRefused as error:
            return await self._end_refused(error)
        else:
            return ending, finished.head
        finally:
            self._call.close()
            self._questions.close()
            self._resumption.close()

    def intents_unknown_since(self, since: float) -> bool:
        """Return whether the intents up to `since`, by the event loop's clock, are unknown."""
        return self._intents.unknown_since(since)

    async def poll_intents(self) -> None:
        """Carry out pending intents; once more when this is called meanwhile."""
        await self._intents.poll()

    def lose(self, error: Exception) -> None:
        """Stop at once without further writes: this attempt no longer owns the session."""
        self._writer.stop(error)
        self.context.stop(error)

    async def release(self) -> None:
        """Stop at once and release the session, so that the job starts again elsewhere without a strike."""
        if self._budget is not None:
            await self._budget.record()
        self.lose(Fenced("the worker stops"))
        attempt = self.context.attempt
        await self.context.log_writer.release(attempt.session_id, attempt.epoch)

    async def _ending(self) -> Ending:
        """Run the agent. Returns the ending: the agent's own, a cancellation, or the timeout."""
        budget = self._budget
        if budget is not None and (ending := await budget.start(self._allowance.used_s)) is not None:
            return ending
        agent = asyncio.create_task(self._call.ending())
        either: set[asyncio.Future[Any]] = {agent, self.context.stopped}
        self._allowance.run()
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            stopped = self.context.stopped.result() if self.context.stopped.done() else None
            if isinstance(stopped, Exception):
                raise stopped
            if budget is not None and budget.ending is not None:
                stopped = budget.ending  # also where the agent swallowed the error
            elif agent.done() or stopped is None:
                return agent.result()
            await self._stop_agent(agent)
            return stopped
        finally:
            self._allowance.pause()
            if budget is not None:
                budget.close()
            self._run.cancel()
            agent.cancel()

    async def _stop_agent(self, agent: asyncio.Task[Ending]) -> None:
        """Cancel the agent and wait STOPPING_SECONDS for it."""
        self._run.cancel()
        agent.cancel()
        done, _ = await asyncio.wait({agent}, timeout=STOPPING_SECONDS)
        if not done:
            log.warning("agent does not stop", **self.context.log_keys)

    async def _finish(self, ending: Ending) -> Finished:
        self._run.end()
        self._writer.gives_up_when_full = ending.kind != COMPLETED
        await self._resumption.leave()
        if self._budget is not None:
            await self._budget.record()
        transcript = self.context.transcript
        event = ending.event(self.context.attempt.job_id)
        return await self._writer.finish(event, messages=transcript.messages, usage=transcript.usage)

    async def _end_refused(self, error: RedisRefused) -> tuple[Ending, Head | None]:
        """End a job of which Redis refused a write: in its log if possible, else in its record only."""
        context, attempt, ending = self.context, self.context.attempt, failed(error)
        log.error("redis refuses a job", **context.log_keys, reason=error.reason)
        try:
            refusal = await context.retry(context.log_writer.end_lost, attempt, error.code)
        except RedisRefused:
            event = ending.event(attempt.job_id)
            close = partial(context.log_writer.close_record, attempt.session_id, event, attempt.epoch)
            refusal = await context.retry(close)
        if refusal.verdict != "ended":
            raise Fenced
        return ending, refusal.head


def _allowance(context: AttemptContext, budget: Budget | None) -> Allowance:
    """Return the limit of the attempt's run time: its timeout, or what the budget leaves if that is less."""
    timeout_s = context.attempt.timeout_s
    if budget is None or budget.left_s > timeout_s:
        return Allowance(timeout_s, context.time_out)
    return Allowance(budget.left_s, budget.time_out)
