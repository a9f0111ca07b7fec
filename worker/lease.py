"""Keeps this worker's tokens its own: counts its heart up, and hears which tokens it still leases."""

from __future__ import annotations

from collections.abc import Callable

from shared.background import repeat
from shared.queue import Queue
from worker.outage import Outage

LONGEST_PAUSE_S = 0.25  # between two beats that fail


class Lease:
    """`held` names the tokens that this worker works on. `lost` is told each of them that others may have by now,
    `stray` each token that is leased to this worker though it never heard so: the answer to a take was lost."""

    def __init__(
        self,
        queue: Queue,
        outage: Outage,
        worker_id: str,
        lease_s: float,
        *,
        held: Callable[[], set[str]],
        lost: Callable[[str], None],
        stray: Callable[[str], None],
    ) -> None:
        self._queue = queue
        self._outage = outage
        self._worker_id = worker_id
        self._beat_s = lease_s / 3
        self._held, self._lost, self._stray = held, lost, stray
        self._unheard_of: set[str] = set()

    async def run(self) -> None:
        """Beat until cancelled."""
        longest_pause_s = min(self._beat_s, LONGEST_PAUSE_S)
        await repeat("lease", self.beat, outage=self._outage, longest_pause_s=longest_pause_s)

    async def beat(self) -> float:
        """One beat. What was held before it and is not leased after it is lost. Returns the seconds until the next."""
        before = frozenset(self._held())
        leased = await self._queue.beat(self._worker_id)
        held = self._held()
        for token in (before - leased) & held:
            self._lost(token)
        # A take may be in flight: only what two beats in a row found is stray.
        unheard_of = leased - before - held
        for token in unheard_of & self._unheard_of:
            self._stray(token)
        self._unheard_of = unheard_of
        return self._beat_s
