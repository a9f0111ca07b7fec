"""The deliveries that a worker handles at the moment, and the polls of their sessions' intents."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import structlog
from holdfast.shared.queue import QueueEntry
from holdfast.worker.process.delivery import Delivery

INTENT_POLL_SECONDS = 5.0  # safety net for lost notifications, and for intents that no append reported
CANCEL_AGAIN_SECONDS = 0.1

log = structlog.get_logger()


class Deliveries(dict[Delivery, asyncio.Task[None]]):
    """The deliveries of a worker and their tasks.

    `paused`: the entries of which the queue has recorded that they take no slot."""

    def __init__(self) -> None:
        super().__init__()
        self.paused: set[str] = set()

    def working(self) -> list[Delivery]:
        """Return those that take a slot: a job that waits for a person takes none."""
        return [delivery for delivery in self if not delivery.waits]

    def by_state(self) -> Counter[tuple[str, str]]:
        """Count the jobs by state, `running` or `asking`, and agent. Callable from any thread."""
        jobs = [delivery for delivery in list(self) if delivery.entry.job_id is not None]
        return Counter(("asking" if delivery.waits else "running", delivery.entry.agent) for delivery in jobs)

    def held(self) -> set[str]:
        """Return the ids of the entries that the worker leases."""
        return {delivery.entry.id for delivery in self}

    def running(self) -> dict[str, QueueEntry]:
        """Return the entries, by their ids, whose sessions the worker owns."""
        return {delivery.entry.id: delivery.entry for delivery in self if delivery.job is not None}

    def waiting(self) -> set[str]:
        """Return the ids of the entries whose jobs wait for a person."""
        return {delivery.entry.id for delivery in self if delivery.waits}

    def lose(self, entry_id: str) -> None:
        """Stop the delivery of an entry whose lease was lost."""
        for delivery in self:
            if delivery.entry.id == entry_id:
                delivery.lose()


class IntentPolls:
    """Polls the intents of the sessions that a worker owns."""

    def __init__(self, worker_id: str, deliveries: Deliveries) -> None:
        self._worker_id = worker_id
        self._deliveries = deliveries
        self._tasks: set[asyncio.Task[None]] = set()
        self._sessions: set[str] = set()
        self._event = asyncio.Event()

    def notify(self, session_id: str) -> None:
        """Poll the intents of a session soon."""
        self._sessions.add(session_id)
        self._event.set()

    async def poll(self) -> float:
        """Poll the intents of owned sessions: of those with a notification at once, of those whose log has not reported
        for INTENT_POLL_SECONDS too. Polls run concurrently, so that an unresponsive log delays no other session."""
        sessions = await self._next()
        since = asyncio.get_running_loop().time() - INTENT_POLL_SECONDS * 0.8  # this step runs every 0.2 of it
        for delivery in self._deliveries:
            if delivery.entry.session_id in sessions or delivery.intents_unknown_since(since):
                poll = asyncio.create_task(delivery.poll_intents())
                self._tasks.add(poll)
                poll.add_done_callback(self._polled)
        return 0

    def _polled(self, poll: asyncio.Task[None]) -> None:
        self._tasks.discard(poll)
        if not poll.cancelled() and (error := poll.exception()) is not None:
            log.error("intents failed", worker_id=self._worker_id, exc_info=error)

    async def _next(self) -> set[str]:
        """Wait for notified sessions; none after a fifth of INTENT_POLL_SECONDS."""
        with suppress(TimeoutError):
            async with asyncio.timeout(INTENT_POLL_SECONDS * 0.2):
                await self._event.wait()
        self._event.clear()
        sessions, self._sessions = self._sessions, set()
        return sessions

    async def close(self) -> None:
        await cancel(self._tasks)


async def cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel the tasks and wait until they end. Their other exceptions are discarded.

    The cancellation is repeated, since wait_for of Python 3.11, which redis-py uses, sometimes swallows one."""
    ending = set(tasks)
    pending = {task for task in ending if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_SECONDS)
    for task in ending:
        if not task.cancelled():
            task.exception()
