"""Ends the streams of callers whose credentials have expired or were revoked, and renews tickets before they expire."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from holdfast.gateway.principal import Principal
from holdfast.gateway.stream.viewer import Viewer
from holdfast.shared.background import repeat

CHECK_S = 1.0
LONGEST_LEAD_S = 30.0


class Renewal(NamedTuple):
    """A renewed ticket: its event, which is JSON, and the caller that presents it."""

    event: bytes
    principal: Principal


class Access:
    """Checks the callers of all streams once a second.

    Args:
        renew: returns the renewal of a caller's ticket, or None if it may not be renewed. Set by the lifespan.
        current: returns what a caller may do by now, or None if its credentials were revoked. Set by the lifespan.
    """

    def __init__(self) -> None:
        self._viewers: set[Viewer] = set()
        self.renew: Callable[[Principal], Renewal | None] = lambda _: None
        self.current: Callable[[Principal], Principal | None] = lambda principal: principal

    def add(self, viewer: Viewer) -> None:
        """Check the caller of a viewer from now on. Without authentication there is nothing to check."""
        if viewer.principal.owner is not None:
            self._viewers.add(viewer)
            self._update(viewer)  # its credentials may have changed since the request came

    def remove(self, viewer: Viewer) -> None:
        self._viewers.discard(viewer)

    def update(self) -> None:
        """Check all callers against the credentials that have changed."""
        for viewer in tuple(self._viewers):
            self._update(viewer)

    def ticket_sessions(self) -> set[str]:
        """Return the complete ids of the sessions that are streamed to callers with tickets."""
        return {session for viewer in self._viewers if (session := viewer.principal.session) is not None}

    def end_void_tickets(self, series: Mapping[str, str | None]) -> None:
        """End the streams of tickets for these sessions that are not of the given series."""
        for viewer in tuple(self._viewers):
            session = viewer.principal.session or ""
            if session in series and viewer.principal.series != series[session]:
                self._end(viewer)

    async def run(self) -> None:
        """Run until cancelled."""
        await repeat("access", self._check)

    async def _check(self) -> float:
        now = time.time()
        for viewer in tuple(self._viewers):
            principal = viewer.principal
            if principal.expires_at <= now:
                self._end(viewer)
            elif principal.renewable_until > principal.expires_at and _is_due(principal, now):
                self._renew(viewer)
        return CHECK_S

    def _update(self, viewer: Viewer) -> None:
        principal = self.current(viewer.principal)
        if principal is None or "read" in viewer.principal.rights - principal.rights:
            self._end(viewer)
        else:
            viewer.principal = principal

    def _renew(self, viewer: Viewer) -> None:
        renewal = self.renew(viewer.principal)
        if renewal is not None and viewer.send_ticket(renewal.event):
            viewer.principal = renewal.principal

    def _end(self, viewer: Viewer) -> None:
        """End a stream in the way of its dialect; at once if its client reads nothing."""
        self._viewers.discard(viewer)
        if viewer.blocked:
            viewer.transport.abort()
        else:
            viewer.end_early()


def _is_due(principal: Principal, now: float) -> bool:
    lead_s = min(LONGEST_LEAD_S, (principal.expires_at - principal.issued_at) / 2)
    return now >= principal.expires_at - lead_s
