"""Ends the streams of tickets that were revoked."""

from __future__ import annotations

import asyncio
from itertools import islice

from holdfast.gateway.stream.access import Access
from holdfast.shared.auth_store import AuthStore
from holdfast.shared.log.ticket_series import TicketSeries

POLL_S = 1.0
BUSY_POLL_S = 3.0  # where so much is revoked that all streams of tickets are checked
OVERLAP_MS = 2000  # from the check of a ticket to the beginning of its stream
BATCH = 100


class TicketWatch:
    """Polls the announcements of revocations. They name the sessions to check; the series voids a ticket."""

    def __init__(self, store: AuthStore, series: TicketSeries, access: Access) -> None:
        self._store = store
        self._series = series
        self._access = access
        self._since = "0"

    async def poll(self) -> float:
        """End the streams of revoked tickets. Returns the seconds until the next poll. Raises RedisError."""
        announced = await self._store.announced_since(self._since)
        if announced.sessions:
            open_sessions = self._access.ticket_sessions()
            sessions = open_sessions if announced.partial else open_sessions & announced.sessions
            self._access.end_void_tickets(await self._series_of(sessions))
        self._since = str(max(0, int(announced.newest.partition("-")[0]) - OVERLAP_MS))
        return BUSY_POLL_S if announced.partial else POLL_S

    async def _series_of(self, sessions: set[str]) -> dict[str, str | None]:
        found: dict[str, str | None] = {}
        remaining = iter(sessions)
        while batch := [*islice(remaining, BATCH)]:
            found.update(zip(batch, await asyncio.gather(*map(self._series.current, batch)), strict=True))
        return found
