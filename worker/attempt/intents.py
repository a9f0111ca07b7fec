"""Carry out what gateways ask of the lease owner of a session: cancel jobs, delete the session, pass on the answers to
questions, for which the agent waits here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from holdfast.shared.errors import Fenced, LogGone, SealBroken
from holdfast.shared.failpoints import failpoint
from holdfast.shared.log.endings import ENDINGS
from holdfast.shared.log.session_claims import Retire
from holdfast.shared.redis.errors import RedisError
from holdfast.worker.attempt.attempt_context import AttemptContext
from holdfast.worker.attempt.ending import cancelled, failed
from holdfast.worker.attempt.writer import Writer
from holdfast.worker.sdk.run import AgentError

log = structlog.get_logger()


class Allowance:
    """The run time limit of an agent: a countdown of `seconds` that is paused while the job waits. Calls `spent` at the
    end."""

    def __init__(self, seconds: float, spent: Callable[[], None]) -> None:
        self._seconds = self._left_s = seconds
        self._spent = spent
        self._timer: asyncio.TimerHandle | None = None

    def used_s(self) -> float:
        """Return the run time so far in seconds."""
        if self._timer is None:
            return self._seconds - self._left_s
        return self._seconds - max(self._timer.when() - asyncio.get_running_loop().time(), 0)

    def run(self) -> None:
        """Start or resume the countdown."""
        self._timer = asyncio.get_running_loop().call_later(self._left_s, self._spent)

    def pause(self) -> None:
        """Pause the countdown."""
        if self._timer is not None:
            self._left_s = max(self._timer.when() - asyncio.get_running_loop().time(), 0)
            self._timer.cancel()
            self._timer = None


class Questions:
    """Waits for the answer to a job's question, one at a time, while the agent's time limit is paused.

    `on_wait_changed` is called when a wait begins or ends; it ends after `seconds` at the latest."""

    def __init__(
        self, context: AttemptContext, allowance: Allowance, seconds: float, on_wait_changed: Callable[[], None]
    ) -> None:
        self._context = context
        self._allowance = allowance
        self._seconds = seconds
        self._on_wait_changed = on_wait_changed
        self._pending: tuple[str, asyncio.Future[bytes]] | None = None

    @property
    def waits(self) -> bool:
        return self._pending is not None

    async def answer(self, question_id: str) -> bytes:
        """Wait for the answer. Raises AgentError `unanswered`."""
        given: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._pending = question_id, given
        self._allowance.pause()
        self._on_wait_changed()
        self._context.on_intent()  # the answer may have arrived before this wait began
        try:
            async with asyncio.timeout(self._seconds):
                return await given
        except TimeoutError:
            unanswered = ENDINGS["unanswered"]
            raise AgentError("unanswered", str(unanswered["message"]), retryable=True) from None
        finally:
            self._pending = None
            self._allowance.run()
            self._on_wait_changed()

    async def look_for_answer(self) -> None:
        """Read the answer to the pending question, if there is one."""
        if self._pending is None:
            return
        question_id, given = self._pending
        attempt = self._context.attempt
        answer = await self._context.log_writer.log.answer(attempt.session_id, attempt.job_id, question_id)
        if answer is not None and not given.done():
            given.set_result(answer)

    def close(self) -> None:
        """Cancel the wait of a thread, which cannot be cancelled itself."""
        if self._pending is not None:
            self._pending[1].cancel()


class IntentPoller:
    """Polls the intents of an attempt's session and carries them out."""

    def __init__(self, context: AttemptContext, writer: Writer, questions: Questions, retire: Retire) -> None:
        self._context = context
        self._writer = writer
        self._questions = questions
        self._retire = retire
        self._poll_again = False
        self._polling = False
        self._polled_at: float | None = None

    def unknown_since(self, since: float) -> bool:
        """Return whether the intents up to `since`, by the event loop's clock, are unknown.

        True until the first poll: a previous lease owner may have read an intent without carrying it out."""
        if self._polling:
            return False
        return self._polled_at is None or max(self._polled_at, self._context.intents_read_at) < since

    async def poll(self) -> None:
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
            await self._carry_out()
            self._polled_at = began
        except (Fenced, LogGone) as error:
            self._writer.stop(error)
            self._context.stop(error)
        except SealBroken as error:
            self._context.stop(failed(error))
        except RedisError as error:
            self._context.outage.began(error)
        except Exception:
            log.exception("intents failed", **self._context.log_keys)

    async def _carry_out(self) -> None:
        context, attempt = self._context, self._context.attempt
        intents = await context.log_writer.intents(attempt.session_id, attempt.epoch)
        if intents.deleted:
            raise Fenced("the session is being deleted")
        if attempt.job_id in intents.cancel:
            context.stop(cancelled(intents.cancel.pop(attempt.job_id)))
        await self._questions.look_for_answer()
        if intents.cancel:
            await self._retire(list(intents.cancel))
        for job_id, by in intents.cancel.items():
            await self._writer.end_waiting(cancelled(by).event(job_id))
            failpoint("after_end_waiting")
