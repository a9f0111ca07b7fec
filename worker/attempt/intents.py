"""Carry out what gateways ask of the lease owner of a session: cancel jobs, delete the session, pass on answers."""

from __future__ import annotations

import asyncio

import structlog
from holdfast.shared.errors import Fenced, LogGone
from holdfast.shared.failpoints import failpoint
from holdfast.shared.log.session_claims import Retire
from holdfast.shared.redis.client import RedisError
from holdfast.worker.attempt.attempt_context import AttemptContext
from holdfast.worker.attempt.ending import cancelled
from holdfast.worker.attempt.questions import Questions
from holdfast.worker.attempt.writer import Writer

log = structlog.get_logger()


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
