"""Run one attempt at a job: call the agent, write its events, write its end."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
import structlog
from holdfast.shared.conversation import Message
from holdfast.shared.errors import EventInvalid, Fenced, HoldfastError, LogGone, RedisRefused
from holdfast.shared.events import ASKED, CANCELLED, COMPLETED, FAILED, MAX_EVENT_BYTES, STARTED, encode, encode_event
from holdfast.shared.failpoints import failpoint
from holdfast.shared.ids import EventId
from holdfast.shared.log_writer import ENDINGS, Attempt, Event, Finished, Head, LogWriter, Outcome, Recorded
from holdfast.shared.redis import RedisError
from holdfast.shared.sessions import Sessions
from holdfast.worker.allowance import Allowance
from holdfast.worker.current_job import CurrentJob, running
from holdfast.worker.journal import Journal, current_step
from holdfast.worker.kept import KeptEvents
from holdfast.worker.outage import Outage
from holdfast.worker.redaction import without_keys
from holdfast.worker.registry import Agent
from holdfast.worker.replay import Replay
from holdfast.worker.run import AgentError, Run, RunEnded, ThreadRun
from holdfast.worker.settings import WorkerSettings
from holdfast.worker.threads import JobThreads, in_thread
from holdfast.worker.transcript import Transcript
from holdfast.worker.weak import weakly
from holdfast.worker.writer import Writer

# An agent that is cancelled has so long to clean up; then the end is written regardless.
STOPPING_SECONDS = 5.0
MAX_MESSAGE_CHARACTERS = 500
# The size of the parts of a returned text that is too large for one event: a character takes up to 6 bytes in JSON.
PIECE_CHARACTERS = 32 * 1024
_DELTA_BYTES = 1024  # upper bound of a delta's other fields

log = structlog.get_logger()


# Called with waiting jobs of the session that were ended, so that their queue entries are dropped.
Retire = Callable[[Sequence[str]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Ending:
    """How a job ends: the type of its terminal event, and that event's fields."""

    kind: str
    fields: dict[str, Any]

    def event(self, job_id: str) -> Event:
        body = {"type": self.kind, "job_id": job_id, "at": time.time_ns() // 1_000_000, **self.fields}
        return Event(self.kind, job_id, encode(body))


def completed(result: Any) -> Ending:
    """Return the ending of a job whose agent returned. A result that is not JSON, or too large, fails the job."""
    try:
        size = len(encode(result))
    except EventInvalid as error:
        return failed(AgentError("result_invalid", f"The agent's result is {error}"))
    if size > MAX_EVENT_BYTES:
        return failed(AgentError("result_invalid", f"The agent's result is {size} bytes of at most {MAX_EVENT_BYTES}"))
    return Ending(COMPLETED, {"result": result})


def failed(error: BaseException) -> Ending:
    """Return the ending of a job whose agent raised. Messages of foreign exceptions are redacted: they may contain
    keys."""
    meant = isinstance(error, HoldfastError)
    text = ": ".join(part for part in ("" if meant else type(error).__name__, str(error)) if part)
    message = without_keys(text, opaque=not meant)
    return Ending(
        FAILED,
        {
            "error": {
                "code": _clean(error.code) if isinstance(error, HoldfastError) else AgentError.code,
                "message": _clean(message),
                "retryable": isinstance(error, AgentError) and error.retryable is True,
            }
        },
    )


def pieces_of(text: str) -> list[str]:
    """Split a text into as few deltas as the limit of an event allows."""
    if len(encode(text)) <= MAX_EVENT_BYTES - _DELTA_BYTES:
        return [text]
    return [text[at : at + PIECE_CHARACTERS] for at in range(0, len(text), PIECE_CHARACTERS)]


def cancelled(by: str) -> Ending:
    return Ending(CANCELLED, {"by": by})


def _timed_out(timeout_s: float) -> Ending:
    return failed(AgentError("timeout", f"The job did not end within {timeout_s:g} s", retryable=True))


def _clean(text: str) -> str:
    """Truncate the text and replace what UTF-8 cannot encode."""
    return str(text)[:MAX_MESSAGE_CHARACTERS].encode("utf-8", "replace").decode()


class JobState:
    """What the parts of an attempt share: its transcript, when its intents were last read, and why it stops.

    `on_intent` is called when intents are pending for the lease owner."""

    def __init__(self, job_id: str, given: Any, on_intent: Callable[[], None]) -> None:
        self.transcript = Transcript(job_id, given)
        self.stopped: asyncio.Future[Ending | Exception] = asyncio.get_running_loop().create_future()
        self.intents_read_at = float("-inf")
        self.on_intent = on_intent

    def stop(self, reason: Ending | Exception) -> None:
        """Stop with this reason, unless there is one already."""
        if not self.stopped.done():
            self.stopped.set_result(reason)

    def on_written(self, events: Sequence[Event]) -> None:
        self.transcript.add(events)

    def on_intents_read(self, at: float, *, pending: bool) -> None:
        self.intents_read_at = at
        if pending:
            self.on_intent()

    def on_lost(self, error: Exception) -> None:
        self.stop(error)


class Job:
    """One attempt at a job whose session this worker owns."""

    def __init__(
        self,
        attempt: Attempt,
        agent: Agent,
        log_writer: LogWriter,
        outage: Outage,
        *,
        history: Callable[[], Awaitable[list[Message]]],
        window_s: float,
        ask_s: float,
        on_intent: Callable[[], None],
        on_wait_changed: Callable[[], None],
        retire: Retire,
    ) -> None:
        self.attempt = attempt
        self._retire = retire
        self._ask_s = ask_s
        self._on_intent = on_intent
        self._on_wait_changed = on_wait_changed
        self._allowance = Allowance(attempt.timeout_s, weakly(self._time_out))
        self._question: tuple[str, asyncio.Future[bytes]] | None = None
        self._replay: Replay | None = None
        self._poll_again = False
        self._polling = False
        self._polled_at: float | None = None
        self._agent = agent
        self._threads = JobThreads(agent.name)
        self._log_writer = log_writer
        self._outage = outage
        self._history = history
        given = orjson.loads(attempt.input)
        self.state = JobState(attempt.job_id, given, on_intent)
        self._writer = Writer(
            log_writer,
            outage,
            self.state,
            session_id=attempt.session_id,
            job_id=attempt.job_id,
            epoch=attempt.epoch,
            window_s=window_s,
        )
        self._run = Run(
            self._writer,
            session_id=attempt.session_id,
            job_id=attempt.job_id,
            attempt=attempt.number,
            input=given,
            options=orjson.loads(attempt.options),
            metadata=orjson.loads(attempt.metadata),
            history=[],
        )

    async def run(self) -> tuple[Ending, Head | None]:
        """Run the job until its end is in the log. Returns the ending and the head of the backlog.

        Raises Fenced when another attempt has claimed the session, RedisRefused when Redis refuses every form of
        end."""
        try:
            ending = await self._outcome()
            failpoint("after_agent_before_finish")
            finished = await self._finish(ending)
        except LogGone as error:
            refusal = await self._outage.retry_until_available(lambda: self._log_writer.end_lost(self.attempt))
            return failed(error), refusal.head
        except RedisRefused as error:
            return await self._end_refused(error)
        else:
            return ending, finished.head
        finally:
            self._run.end()
            self._threads.end()
            if self._question is not None:  # asked from a thread, which cannot be cancelled
                self._question[1].cancel()
            if self._replay is not None:
                self._replay.close(RunEnded())

    async def _end_refused(self, error: RedisRefused) -> tuple[Ending, Head | None]:
        """End a job of which Redis refused a write: in its log if possible, else in its record only."""
        attempt, ending = self.attempt, failed(error)
        log.error("redis refuses a job", session_id=attempt.session_id, job_id=attempt.job_id, reason=error.reason)
        try:
            refusal = await self._outage.retry_until_available(partial(self._log_writer.end_lost, attempt, error.code))
        except RedisRefused:
            event = ending.event(attempt.job_id)
            close = partial(self._log_writer.close_record, attempt.session_id, event, attempt.epoch)
            refusal = await self._outage.retry_until_available(close)
        if refusal.verdict != "ended":
            raise Fenced
        return ending, refusal.head

    @property
    def waits(self) -> bool:
        """Whether the job waits for a person; it takes no slot then."""
        return self._question is not None

    def cancel(self, by: str) -> None:
        """Stop the agent and end the job as cancelled. Does nothing once the agent has ended."""
        self.state.stop(cancelled(by))

    def lose(self, error: Exception) -> None:
        """Stop at once without further writes: this attempt no longer owns the session."""
        self._writer.stop(error)
        self.state.stop(error)

    async def end_waiting(self, job_id: str, by: str) -> Finished:
        """Write the end of another job of the session, which was cancelled in the backlog."""
        return await self._writer.end_waiting(cancelled(by).event(job_id))

    def intents_unknown_since(self, since: float) -> bool:
        """Return whether the intents up to `since`, by the event loop's clock, are unknown.

        True until the first poll: a previous lease owner may have read an intent without carrying it out."""
        if self._polling:
            return False
        return self._polled_at is None or max(self._polled_at, self.state.intents_read_at) < since

    async def poll_intents(self) -> None:
        """Carry out pending intents; once more when this is called meanwhile."""
        self._poll_again = True
        if self._polling:
            return
        self._polling = True
        try:
            while self._poll_again:
                self._poll_again = False
                await self._poll_once()
        finally:
            self._polling = False

    async def _poll_once(self) -> None:
        """Carry out pending intents. Failures are retried by the next poll."""
        began, self._polled_at = asyncio.get_running_loop().time(), None
        try:
            await self._carry_out_intents()
            self._polled_at = began
        except (Fenced, LogGone) as error:
            self.lose(error)
        except RedisError as error:
            self._outage.began(error)
        except Exception:
            log.exception("intents failed", session_id=self.attempt.session_id, job_id=self.attempt.job_id)

    async def _carry_out_intents(self) -> None:
        session_id = self.attempt.session_id
        intents = await self._log_writer.intents(session_id, self.attempt.epoch)
        if intents.deleted:
            settled = await self._outage.retry_until_available(partial(self._log_writer.settle, session_id))
            await self._retire(settled.ended)
            raise Fenced("the session was deleted")
        if self.attempt.job_id in intents.cancel:
            self.cancel(intents.cancel.pop(self.attempt.job_id))
        for job_id, by in intents.cancel.items():
            await self.end_waiting(job_id, by)
        if intents.cancel:
            await self._retire(list(intents.cancel))
        await self._look_for_answer()

    async def _look_for_answer(self) -> None:
        """Pass the agent the answer to its question, if there is one."""
        if self._question is None:
            return
        question_id, given = self._question
        answer = await self._log_writer.answer_to(self.attempt.session_id, question_id)
        if answer is not None and not given.done():
            given.set_result(answer)

    async def release(self) -> None:
        """Stop at once and release the session, so that the job starts again elsewhere without a strike."""
        self.lose(Fenced("the worker stops"))
        await self._log_writer.release(self.attempt.session_id, self.attempt.epoch)

    async def _outcome(self) -> Ending:
        """Run the agent. Returns the ending: the agent's own, a cancellation, or the timeout."""
        agent = asyncio.create_task(self._call())
        either: set[asyncio.Future[Any]] = {agent, self.state.stopped}
        self._allowance.run()
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            stopped = self.state.stopped.result() if self.state.stopped.done() else None
            if isinstance(stopped, Exception):
                raise stopped
            if agent.done() or stopped is None:
                return agent.result()
            await self._stop_agent(agent)
            return stopped
        finally:
            self._allowance.pause()
            self._run.cancel()
            agent.cancel()

    def _time_out(self) -> None:
        self.state.stop(_timed_out(self.attempt.timeout_s))

    async def _begin(self) -> None:
        """Load the conversation before the job, and what earlier attempts recorded."""
        history, kept, recorded = await self._history(), await self._kept(), Recorded({}, {}, {})
        if self.attempt.number > 1:
            recorded = await self._outage.retry_until_available(
                partial(self._log_writer.recorded, self.attempt.session_id)
            )
        calls = self._record, self._ask, self._run.note, self._confirm, self._truncate
        journal = Journal(self.attempt.job_id, self._writer, *calls, recorded=recorded, kept=kept)
        if kept:
            self._follow(kept, journal)
        self._run.begin(history, journal)

    async def _kept(self) -> KeptEvents | None:
        """Return the retained events of earlier attempts; None in the first attempt."""
        attempt = self.attempt
        if attempt.first is None or attempt.discard_from is None:
            return None
        events, place = self._log_writer.log, (attempt.session_id, attempt.job_id)
        discards = await self._outage.retry_until_available(partial(events.discards, *place))
        return KeptEvents(
            events, self._outage, *place, first=attempt.first, until=attempt.discard_from, discards=discards
        )

    def _follow(self, kept: KeptEvents, journal: Journal) -> None:
        """Replay the retained events, so that none is emitted again."""
        attempt = self.attempt
        log_keys = {"session_id": attempt.session_id, "job_id": attempt.job_id, "attempt": attempt.number}
        self._replay = journal.follower = Replay(
            self._writer,
            kept,
            journal,
            rewind=self._rewind,
            keep=self._keep,
            over=lambda: self._run.emit_to(self._writer),
            log_keys=log_keys,
        )
        self._run.emit_to(self._replay)

    async def _rewind(self, discard_from: EventId) -> EventId:
        """Write another start of this attempt, which discards the job's events from an id on. Returns its id.

        Raises LogFull where the job is to end and a full Redis refuses the start."""
        attempt = self.attempt
        body = {
            "type": STARTED,
            "job_id": attempt.job_id,
            "at": time.time_ns() // 1_000_000,
            "agent": attempt.agent,
            "attempt": attempt.number,
            "discard_from": str(discard_from),
            "input": orjson.Fragment(attempt.input),
        }
        await self._writer.put(STARTED, encode(body))
        await self._writer.flush()
        return self._writer.id_of(1)  # the replay writes nothing before its comparison is complete

    def _keep(self, kind: str, body: bytes) -> None:
        self.state.transcript.add([Event(kind, self.attempt.job_id, body)])
        self._run.note(kind, body)

    def _truncate(self) -> None:
        """Mark the conversation as incomplete: retained events of earlier attempts are missing."""
        log.warning("events were trimmed", session_id=self.attempt.session_id, job_id=self.attempt.job_id)
        self.state.transcript.truncate()

    async def _confirm(self) -> None:
        attempt = self.attempt
        await self._outage.retry_until_available(partial(self._log_writer.confirm, attempt.session_id, attempt.epoch))

    async def _record(self, resume: EventId, outcomes: Sequence[Outcome]) -> None:
        attempt = self.attempt
        write = partial(self._log_writer.record, attempt.session_id, attempt.epoch, resume, outcomes)
        await self._outage.retry_until_available(
            write, writes=True, unless_full=lambda: self._writer.gives_up_when_full
        )

    async def _ask(self, question_id: str, event: dict[str, Any], known: bytes | None) -> Any:
        """Append the question to the log, and wait for the answer unless an earlier attempt got one."""
        step = current_step()
        if step is None or not step.is_repeated or known is None:
            emitter = self._replay or self._writer
            await emitter.put(ASKED, encode_event(event), step)
            await emitter.flush()
        return orjson.loads(await self._answer(question_id) if known is None else known)

    async def _answer(self, question_id: str) -> bytes:
        self._question = (question_id, asyncio.get_running_loop().create_future())
        self._allowance.pause()
        self._on_wait_changed()
        self._on_intent()  # the answer may have arrived before this wait began
        try:
            async with asyncio.timeout(self._ask_s):
                return await self._question[1]
        except TimeoutError:
            unanswered = ENDINGS["unanswered"]
            raise AgentError("unanswered", str(unanswered["message"]), retryable=True) from None
        finally:
            self._question = None
            self._allowance.run()
            self._on_wait_changed()

    async def _stop_agent(self, agent: asyncio.Task[Ending]) -> None:
        """Cancel the agent and wait STOPPING_SECONDS for it."""
        self._run.cancel()
        agent.cancel()
        done, _ = await asyncio.wait({agent}, timeout=STOPPING_SECONDS)
        if not done:
            log.warning("agent does not stop", session_id=self.attempt.session_id, job_id=self.attempt.job_id)

    async def _finish(self, ending: Ending) -> Finished:
        self._run.end()
        self._writer.gives_up_when_full = ending.kind != COMPLETED
        if self._replay is not None:
            await self._replay.leave(RunEnded())
        return await self._writer.finish(
            ending.event(self.attempt.job_id),
            messages=self.state.transcript.messages,
            usage=self.state.transcript.usage,
        )

    async def _returned(self, result: Any) -> Ending:
        """Return the ending of a job whose agent returned.

        A text returned by an agent that emitted none is its answer: it is emitted as deltas, and is the result as well
        if it fits into the terminal event."""
        if not isinstance(result, str) or self._run.has_text:
            return completed(result)
        try:
            pieces = pieces_of(result)
        except EventInvalid:
            return completed(result)
        for piece in pieces:
            await self._run.text(piece)
        return completed(result if len(pieces) == 1 else None)

    async def _result(self) -> Ending:
        await self._begin()
        result = await call(self._agent.function, self._run)
        if self._replay is not None:
            await self._replay.finish()
        return await self._returned(result)

    async def _call(self) -> Ending:
        """Run the agent. Any exception fails this job only."""
        self._threads.enter()
        try:
            with running(CurrentJob(self._agent.name, self.attempt.session_id, self.attempt.job_id)):
                return await self._result()
        except (AgentError, RunEnded, Fenced, LogGone, asyncio.CancelledError) as error:
            return failed(error)
        except BaseException as error:  # SystemExit of an agent must not end the worker
            log.warning("agent raised", session_id=self._run.session_id, job_id=self._run.job_id, exc_info=error)
            return failed(error)


def job_of(
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
) -> Job:
    """Create the attempt's Job, which reads its conversation from the log."""
    return Job(
        attempt,
        agent,
        log_writer,
        outage,
        history=lambda: outage.retry_until_available(partial(sessions.history, attempt.session_id)),
        window_s=settings.batch_ms / 1000,
        ask_s=settings.ask_seconds,
        on_intent=on_intent,
        on_wait_changed=on_wait_changed,
        retire=retire,
    )


async def call(function: Callable[..., Any], run: Run) -> Any:
    """Call an agent of any kind. What a generator yields is emitted as text; a synchronous agent runs in a thread."""
    if inspect.iscoroutinefunction(function):
        return await function(run)
    if inspect.isasyncgenfunction(function):
        async with aclosing(function(run)) as pieces:
            async for piece in pieces:
                await run.text(piece)
        return None
    return await in_thread(_called, function, ThreadRun(run, asyncio.get_running_loop()))


def _called(function: Callable[..., Any], run: ThreadRun) -> Any:
    """Call a synchronous agent. What a generator yields is emitted as text."""
    result = function(run)
    if not inspect.isgenerator(result):
        return result
    for piece in result:
        run.text(piece)
    return None
