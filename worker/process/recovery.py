"""Restore the queue entries of jobs after the queue server was emptied or lost its latest writes.

The workers share one round over the sessions of the log server, a page per second. The progress is stored on the queue
server; after that was emptied, the first round runs at fifty pages per second.
"""

from __future__ import annotations

import random
from functools import partial

import structlog
from holdfast.shared.background import repeat
from holdfast.shared.open_sessions import OpenSession, OpenSessions
from holdfast.shared.queue import Queue
from holdfast.shared.redis.errors import RedisError
from holdfast.worker.process.outage import Outage

PAGE_SECONDS = 1.0
FIRST_ROUND_PAGE_SECONDS = 0.02

log = structlog.get_logger()


class Recovery:
    """Searches for jobs without a queue entry while this worker runs."""

    def __init__(
        self, queue: Queue, sessions: OpenSessions, queue_outage: Outage, log_outage: Outage, lease_s: float
    ) -> None:
        self._queue = queue
        self._sessions = sessions
        self._queue_outage = queue_outage
        self._log_outage = log_outage
        self._lease_s = lease_s

    async def run(self) -> None:
        """Search until cancelled."""
        await repeat("recovery", self._step, outage=self._queue_outage)

    async def _step(self) -> float:
        """Search a page, unless a worker has done so within the page interval. Returns the seconds until the next
        step."""
        page = await self._queue.recovery_page(PAGE_SECONDS, FIRST_ROUND_PAGE_SECONDS)
        if page is None:
            return PAGE_SECONDS * random.uniform(0.5, 1)  # noqa: S311 - jitter
        position, rounds = page
        cursor, session_ids = await self._log_outage.retry_until_available(partial(self._sessions.page, position))
        try:
            await self._search(session_ids)
        except RedisError:
            raise
        except Exception:  # the same page would fail again and block the next ones
            log.exception("page skipped in the search for lost queue entries", sessions=len(session_ids))
        await self._queue.page_searched(cursor)
        return PAGE_SECONDS if rounds else FIRST_ROUND_PAGE_SECONDS

    async def _search(self, session_ids: list[str]) -> None:
        """Create the lost entries of these sessions again.

        That of a running job becomes visible only after a lease: until then its worker, if alive, leases it again."""
        found = await self._open(session_ids)
        lost = await self._lost(found)
        idle = [session.head for session in lost if session.head and not session.held]
        running = [session.head for session in lost if session.head and session.held]
        made = await self._queue.restore(idle) + await self._queue.restore(running, delay_s=self._lease_s)
        if made:
            log.warning("lost queue entries were created again", jobs=made)
        for session in found:
            if session.has_intents and not session.held:
                await self._queue.add_control_entry(session.session_id)

    async def _lost(self, found: list[OpenSession]) -> list[OpenSession]:
        """Return the sessions whose next job has no queue entry.

        The log is read once more afterwards, since a job that ended meanwhile has no entry either: entries are created
        before their job is accepted and dropped after its end."""
        missing = await self._queue.lost([session.head for session in found if session.head])
        again = await self._open([entry.session_id for entry in missing])
        return [session for session in again if session.head in missing]

    async def _open(self, session_ids: list[str]) -> list[OpenSession]:
        return await self._log_outage.retry_until_available(partial(self._sessions.open, session_ids))
