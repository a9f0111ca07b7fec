"""Finds jobs whose queue entry was lost: by a queue server that was emptied, or that lost its latest writes.

The workers share one round over the sessions of the log server, a page a second. An emptied queue server has forgotten
how far the round was; the first round on it has no pauses.
"""

from __future__ import annotations

import random
from functools import partial

import structlog
from holdfast.shared.background import repeat
from holdfast.shared.open_sessions import OpenSession, OpenSessions
from holdfast.shared.queue import Queue
from holdfast.shared.redis import RedisError
from holdfast.worker.outage import Outage

PAGE_SECONDS = 1.0
FIRST_ROUND_PAGE_SECONDS = 0.02

log = structlog.get_logger()


class Recovery:
    """Looks for jobs without a queue entry for as long as this worker lives."""

    def __init__(
        self, queue: Queue, sessions: OpenSessions, queue_outage: Outage, log_outage: Outage, lease_s: float
    ) -> None:
        self._queue = queue
        self._sessions = sessions
        self._queue_outage = queue_outage
        self._log_outage = log_outage
        self._lease_s = lease_s

    async def run(self) -> None:
        """Look until cancelled."""
        await repeat("recovery", self._step, outage=self._queue_outage)

    async def _step(self) -> float:
        """Search a page if no worker has within a page's time. Returns the seconds until the next step."""
        page = await self._queue.recovery_page(PAGE_SECONDS, FIRST_ROUND_PAGE_SECONDS)
        if page is None:
            return PAGE_SECONDS * random.uniform(0.5, 1)  # noqa: S311 - jitter
        cursor, session_ids = await self._log_outage.retry_until_available(partial(self._sessions.page, page.cursor))
        try:
            await self._search(session_ids)
        except RedisError:
            raise
        except Exception:  # the same page would fail again: the next ones must not wait for it
            log.exception("page skipped in the search for lost queue entries", sessions=len(session_ids))
        await self._queue.page_searched(cursor)
        return PAGE_SECONDS if page.rounds else FIRST_ROUND_PAGE_SECONDS

    async def _search(self, session_ids: list[str]) -> None:
        """Make the lost entries of these sessions anew. That of a job that runs becomes visible after a lease only: its
        worker, unless it died, leases it again before that."""
        found = await self._open(session_ids)
        lost = await self._lost(found)
        idle = [session.head for session in lost if session.head and not session.held]
        running = [session.head for session in lost if session.head and session.held]
        made = await self._queue.restore(idle) + await self._queue.restore(running, delay_s=self._lease_s)
        if made:
            log.warning("queue entries were lost and are made anew", jobs=made)
        for session in found:
            if session.wanted and not session.held:
                await self._queue.add_control_entry(session.session_id)

    async def _lost(self, found: list[OpenSession]) -> list[OpenSession]:
        """Those of the sessions whose next job has no queue entry. A job that has ended since it was found has none
        either, so the log is read again: the entry is made before its job is accepted and dropped after its end."""
        missing = await self._queue.lost([session.head for session in found if session.head])
        again = await self._open([entry.session_id for entry in missing])
        return [session for session in again if session.head in missing]

    async def _open(self, session_ids: list[str]) -> list[OpenSession]:
        return await self._log_outage.retry_until_available(partial(self._sessions.open, session_ids))
