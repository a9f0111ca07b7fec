"""Handle one delivery of a queue entry: claim the session, run the job, then drop the entry or put it back.

The log alone decides on a job's state. An entry that is delivered early, late or twice is therefore never an error.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import structlog
from holdfast.shared.day_usage import DayUsage
from holdfast.shared.errors import Fenced, RedisRefused, UnreadableHere
from holdfast.shared.failpoints import failpoint
from holdfast.shared.log.log_replies import Attempt, Head, Refusal
from holdfast.shared.log.log_writer import LogWriter
from holdfast.shared.queue import ANY_LANE, Guess, Queue, QueueEntry
from holdfast.shared.schema import check_schema
from holdfast.shared.sessions import Sessions
from holdfast.shared.webhooks.deliveries import WebhookDeliveries
from holdfast.worker.attempt.ending import failed
from holdfast.worker.attempt.isolated_attempt import IsolatedAttempt, ProcessDied
from holdfast.worker.attempt.jobs import Job
from holdfast.worker.process.attempt_report import AttemptReport, log_end, log_keys
from holdfast.worker.process.outage import Outage
from holdfast.worker.process.settings import WorkerSettings
from holdfast.worker.sdk.registry import Registry

RETRY_SECONDS = 5.0  # delay of an entry that came early, whose delivery failed, or whose agent is not offered here
BACKLOG_SECONDS = 1800.0  # delay of a waiting job (0.5 to 1.5 of it); normally the job before it makes it visible
PARKED_SECONDS = 60.0  # delay of a job that waits for a person; normally the answer makes it visible
HELD_SECONDS = 1.0  # delay of a control entry while the lease owner is to carry out the intents
REFUSED_SECONDS = 20.0  # delay of a job whose commands Redis refuses
REFUSED_DELIVERIES = 3  # after so many refused deliveries the job ends without an event
ACCEPTING_SECONDS = 60.0  # after so long, an entry whose job the log does not know is dropped

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class DeliveryContext:
    """The dependencies and state that all deliveries of a worker share.

    `on_intent` is called with a session that has pending intents; `on_wait_changed` when a job starts or stops waiting
    for a person. `isolated`: the attempts that run in processes of their own; None disables such processes."""

    worker_id: str
    settings: WorkerSettings
    registry: Registry
    queue: Queue
    log_writer: LogWriter
    sessions: Sessions
    queue_outage: Outage
    log_outage: Outage
    on_intent: Callable[[str], None]
    on_wait_changed: Callable[[], None]
    isolated: set[IsolatedAttempt] | None
    webhooks: WebhookDeliveries
    day_usage: DayUsage | None = None


class LeasedEntry:
    """An entry that this worker leases. Each call is repeated until the queue answers.

    Raises RedisRefused where it refuses permanently."""

    def __init__(self, entry: QueueEntry, worker_id: str, queue: Queue, outage: Outage) -> None:
        self.entry = entry
        self._worker_id = worker_id
        self._queue = queue
        self._retry = outage.retry_until_available

    async def close(self, head: Head | None) -> None:
        """Drop the entry of a job that has ended, after making the entry of the next one visible."""
        failpoint("after_finish_before_next_head")
        await self.make_ready(head)
        failpoint("after_next_head_before_drop")
        await self.drop()

    async def make_ready(self, head: Head | None) -> None:
        """Make the entry of the next job of the backlog visible."""
        if head is not None and head.job_id != self.entry.job_id:
            await self._retry(partial(self._queue.make_ready, self.entry.session_id, head.job_id, head.agent))

    async def drop(self) -> None:
        await self._retry(partial(self._queue.drop, self._worker_id, self.entry))

    async def put_back(self, delay_s: float, *, delivery: int, asking: bool = False) -> None:
        """Put the entry back. Where the queue lost it, it is created again, so that the job keeps an entry."""
        entry = self.entry
        put_back = partial(self._queue.put_back, self._worker_id, entry)
        given = partial(put_back, delivery=delivery, delay_s=delay_s, asking=asking)
        if not await self._retry(given) and entry.job_id is not None and entry.agent != ANY_LANE:
            await self._retry(partial(self._queue.make_ready, entry.session_id, entry.job_id, entry.agent))

    async def retire(self, job_ids: Sequence[str]) -> None:
        """Drop the entries of jobs that are about to end while they wait. Where the queue refuses permanently, their
        next delivery drops them."""
        with suppress(RedisRefused):
            await self._retry(partial(self._queue.retire, self.entry.session_id, job_ids))

    def log_keys(self) -> dict[str, Any]:
        return log_keys(self.entry)


class Delivery:
    """The delivery of an entry that this worker leases. `job` is set while the worker owns the session."""

    def __init__(self, entry: QueueEntry, context: DeliveryContext) -> None:
        self.job: Job | IsolatedAttempt | None = None
        self._context = context
        self._announcing: asyncio.Task[None] | None = None
        self._leased = LeasedEntry(entry, context.worker_id, context.queue, context.queue_outage)

    @property
    def entry(self) -> QueueEntry:
        return self._leased.entry

    @property
    def waits(self) -> bool:
        """Whether the job waits for a person."""
        return self.job is not None and self.job.waits

    async def work(self) -> None:
        """Handle the entry. Raises nothing: an unexpected error is logged, and the entry is delivered again."""
        try:
            check_schema(self.entry.schema, "The queue entry")
            await (self._settle() if self.entry.job_id is None else self._attempt(self.entry.job_id))
        except RedisRefused as refused:
            await self._give_up(refused)
        except UnreadableHere as error:
            log.warning("left to other workers", **self._leased.log_keys(), reason=str(error))
            if self.job is not None:  # a data key was replaced by one that this worker cannot decrypt
                await self._give_back(self.job)
                return
            await self._leased.put_back(RETRY_SECONDS, delivery=self.entry.delivery)
        except Exception:
            log.exception("delivery failed", **self._leased.log_keys())
            await self._leased.put_back(RETRY_SECONDS, delivery=self.entry.delivery + 1)

    def intents_unknown_since(self, since: float) -> bool:
        """Return whether this worker owns the session, and its intents up to `since` are unknown."""
        return self.job is not None and self.job.intents_unknown_since(since)

    async def poll_intents(self) -> None:
        """Carry out the session's intents, if this worker owns it."""
        if self.job is not None:
            await self.job.poll_intents()

    def lose(self) -> None:
        """Stop: another worker may lease the entry."""
        if self.job is not None:
            self.job.lose(Fenced("the lease was lost"))

    async def release(self) -> None:
        """Release the session and put the entry back, so that another worker starts at once. Raises RedisError.

        The task of `work` must have been cancelled before."""
        delivery = self.entry.delivery
        if self.job is not None:
            delivery += 1
            with suppress(Fenced):
                await self.job.release()
        await self._context.queue.put_back(self._context.worker_id, self.entry, delivery=delivery)
        log.info("job released", **self._leased.log_keys())

    async def _attempt(self, job_id: str) -> None:
        failpoint("before_claim")
        # Strikes are fewer than deliveries, so that an earlier delivery does not end the job.
        guessed = self.entry.delivery > self._context.settings.max_attempts and await self._guess() is not None
        await self._run(job_id, await self._claim(job_id, certain=not guessed))

    async def _run(self, job_id: str, claimed: Attempt | Refusal) -> None:
        failpoint("after_claim")
        if isinstance(claimed, Refusal):
            await self._refused(claimed)
            return
        report = AttemptReport(self.entry, claimed)
        self.job = job = self._job(replace(claimed, traceparent=report.traceparent))
        try:
            ending, head = await job.run()
        except Fenced as fenced:
            fenced.with_traceback(None)  # the job references the error, whose frames would reference the job
            await self._lost(job, claimed, report)
            return
        except ProcessDied as died:
            report.died(str(died))
            await self._died(job_id)
            return
        except BaseException:
            report.interrupted()
            raise
        report.ended(ending)
        self.job = None
        await self._leased.close(head)

    async def _lost(self, job: Job | IsolatedAttempt, attempt: Attempt, report: AttemptReport) -> None:
        """Handle the end of the ownership: another attempt has claimed the session, or it is being deleted."""
        deleted, is_deleted = False, partial(self._context.log_writer.is_deleted, self.entry.session_id)
        with suppress(RedisRefused):
            deleted = await self._context.log_outage.retry_until_available(is_deleted)
        if deleted:
            self.job = None
            report.deleted()
            await self._settled()
            await self._leased.drop()
            return
        report.lost()
        await self._give_back(job)
        guess = await self._guess()
        if guess is not None and guess.worker_id == self._context.worker_id:
            with suppress(RedisRefused):
                await self._context.log_outage.retry_until_available(partial(self._context.log_writer.forgive, attempt))

    async def _guess(self) -> Guess | None:
        """Return from which worker the entry was taken on a guess, less than a lease ago."""
        return await self._context.queue_outage.retry_until_available(partial(self._context.queue.guess, self.entry))

    async def _give_back(self, job: Job | IsolatedAttempt) -> None:
        """Release the session if no other attempt has claimed it, which avoids a strike, and put the entry back."""
        with suppress(Fenced):
            await self._context.log_outage.retry_until_available(job.release)
        self.job = None
        await self._leased.put_back(HELD_SECONDS, delivery=self.entry.delivery + 1)

    async def _died(self, job_id: str) -> None:
        """Handle the death of the last attempt's process: another claim ends the job at once."""
        self.job = None
        self._leased.entry = replace(self.entry, delivery=self.entry.delivery + 1)
        await self._run(job_id, await self._claim(job_id, certain=True))

    async def _claim(self, job_id: str, *, certain: bool) -> Attempt | Refusal:
        context = self._context
        return await context.log_outage.retry_until_available(
            partial(
                context.log_writer.claim,
                self.entry.session_id,
                job_id,
                delivery=self.entry.delivery,
                claim_id=secrets.token_hex(8),
                worker_id=context.worker_id,
                offered=self.entry.agent in context.registry,
                certain=certain,
            )
        )

    def _job(self, attempt: Attempt) -> Job | IsolatedAttempt:
        context, retire = self._context, self._leased.retire
        settings, log_writer, outage = context.settings, context.log_writer, context.log_outage
        # With max_attempts=1 every attempt would need a process of its own: those run in the worker.
        if context.isolated is not None and attempt.last and settings.max_attempts > 1:
            changed, isolated = self._on_wait_changed, context.isolated
            return IsolatedAttempt(
                attempt, settings, log_writer, outage, isolated, on_wait_changed=changed, retire=retire
            )
        return Job(
            attempt,
            context.registry[attempt.agent],
            settings,
            log_writer,
            context.sessions,
            outage,
            on_intent=partial(context.on_intent, attempt.session_id),
            on_wait_changed=self._on_wait_changed,
            retire=retire,
            day_usage=context.day_usage,
        )

    def _on_wait_changed(self) -> None:
        self._context.on_wait_changed()
        if self.waits and self.entry.webhook:
            failpoint("after_question_before_webhook")
            self._announcing = asyncio.create_task(self._announce_question(again=False))

    async def _announce_question(self, *, again: bool) -> None:
        """Create the delivery of the webhook at the job's question, where the job may have one."""
        entry = self.entry
        if entry.webhook and entry.job_id is not None:
            ask = partial(self._context.webhooks.ask, entry.session_id, entry.job_id, again=again)
            with suppress(RedisRefused):
                await self._context.queue_outage.retry_until_available(ask)

    async def _give_up(self, refused: RedisRefused) -> None:
        """Handle a permanent refusal by Redis. Other workers may have other rights, so the entry is put back; after
        REFUSED_DELIVERIES the job ends in its record.

        Where the record cannot be written either, the entry is dropped after queue_seconds. If the queue refuses as
        well, the entry stays leased, and a later heartbeat delivers it again."""
        log.error("redis refuses a job", **self._leased.log_keys(), reason=refused.reason)
        self.job, refused = None, refused.with_traceback(None)
        expired = bool(self.entry.made_at) and self.entry.age_s > self._context.settings.queue_seconds
        with suppress(RedisRefused):
            if self.entry.job_id is not None and (expired or self.entry.delivery >= REFUSED_DELIVERIES):
                with suppress(RedisRefused):
                    await self._close_record(self.entry.job_id, refused)
                    return
            if expired:
                log.error("job given up", **self._leased.log_keys(), reason=refused.reason)
                await self._leased.drop()
            else:
                await self._leased.put_back(REFUSED_SECONDS, delivery=self.entry.delivery + 1)

    async def _close_record(self, job_id: str, refused: RedisRefused) -> None:
        """End the job in its record only, and drop its entry."""
        context, ending = self._context, failed(refused)
        close = partial(context.log_writer.close_record, self.entry.session_id, ending.event(job_id))
        refusal = await context.log_outage.retry_until_available(close)
        if refusal.verdict == "held":
            await self._leased.put_back(REFUSED_SECONDS, delivery=self.entry.delivery)
            return
        log_end(ending, self._leased.log_keys(), 0)
        await self._leased.close(refusal.head)

    async def _refused(self, refusal: Refusal) -> None:
        delivery = self.entry.delivery
        match refusal.verdict:
            case "wait":
                delay_s = BACKLOG_SECONDS * random.uniform(0.5, 1.5)  # noqa: S311 - jitter
                await self._leased.put_back(delay_s, delivery=delivery)
            case "unoffered":
                await self._leased.put_back(RETRY_SECONDS, delivery=delivery)
            case "unsure":
                guess = await self._guess()
                await self._leased.put_back(guess.left_s if guess else 0, delivery=delivery)
            case "stale":
                await self._leased.put_back(0, delivery=refusal.delivery + 1)
            case "parked":
                await self._announce_question(again=True)  # the worker that asked may have died before it did
                await self._leased.put_back(PARKED_SECONDS, delivery=refusal.delivery + 1, asking=True)
            case "unknown" if delivery <= 1 and self.entry.age_s < ACCEPTING_SECONDS:
                await self._leased.put_back(RETRY_SECONDS, delivery=delivery)
            case "deleted":
                await self._settled()
                await self._leased.drop()
            case _:
                await self._leased.close(refusal.head)

    async def _settle(self) -> None:
        if await self._settled():
            await self._leased.drop()
        else:
            await self._leased.put_back(HELD_SECONDS, delivery=self.entry.delivery)

    async def _settled(self) -> bool:
        """Carry out the intents of a session. Returns False where a lease owner must do it."""
        settled = await self._context.log_outage.retry_until_available(
            partial(self._context.log_writer.settle, self.entry.session_id, self._leased.retire)
        )
        failpoint("after_settle_before_next_head")
        await self._leased.make_ready(settled.head)
        return not settled.held
