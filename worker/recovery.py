"""Finds jobs whose queue entry was lost: by a queue server that was emptied, or that lost its latest writes.

The workers share one round over the sessions of the log server, a page a second. An emptied queue server has forgotten
how far the round was; the first round on it has no pauses.
"""

from __future__ import annotations

import random
from functools import partial

import structlog

from shared.background import repeat
from shared.open_sessions import OpenSession, OpenSessions
from shared.queue import Queue
from worker.outage import Outage

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
        cursor, found = await self._log_outage.insist(partial(self._sessions.page, page.cursor))
        await self._restore(found)
        await self._queue.page_searched(cursor)
        return PAGE_SECONDS if page.rounds else FIRST_ROUND_PAGE_SECONDS

    async def _restore(self, found: list[OpenSession]) -> None:
        """Make lost entries anew. That of a job that runs becomes visible after a lease only: its worker, unless it
        died, leases it again before that."""
        lost = set(await self._queue.lost([session.head for session in found if session.head]))
        idle = [session.head for session in found if session.head in lost and not session.held]
        running = [session.head for session in found if session.head in lost and session.held]
        made = await self._queue.restore(idle) + await self._queue.restore(running, delay_s=self._lease_s)
        if made:
            log.warning("queue entries were lost and are made anew", jobs=made)
        for session in found:
            if session.wanted and not session.held:
                await self._queue.nudge(session.session_id)
