"""Send this worker's heartbeats, and compare the entries that it leases with those that it works on."""

from __future__ import annotations

from collections.abc import Callable

from holdfast.shared.background import repeat
from holdfast.shared.leases import Leases
from holdfast.shared.queue import QueueEntry
from holdfast.worker.process.outage import Outage

LONGEST_PAUSE_S = 0.25  # between failed heartbeats


class Lease:
    """Keeps this worker's queue entries leased.

    `held` returns the ids of the entries that this worker works on, `running` those whose session it owns. `on_lost` is
    called with each entry that another worker leases by now; `on_stray` with each one that is leased to this worker
    without its knowledge, because the reply to a take was lost."""

    def __init__(
        self,
        leases: Leases,
        outage: Outage,
        worker_id: str,
        lease_s: float,
        *,
        held: Callable[[], set[str]],
        running: Callable[[], dict[str, QueueEntry]],
        on_lost: Callable[[str], None],
        on_stray: Callable[[str], None],
    ) -> None:
        self._leases = leases
        self._outage = outage
        self._worker_id = worker_id
        self._beat_s = lease_s / 3
        self._held, self._running, self._on_lost, self._on_stray = held, running, on_lost, on_stray
        self._unheard_of: set[str] = set()

    async def run(self) -> None:
        """Send heartbeats until cancelled."""
        longest_pause_s = min(self._beat_s, LONGEST_PAUSE_S)
        await repeat("lease", self.beat, outage=self._outage, longest_pause_s=longest_pause_s)

    async def beat(self) -> float:
        """Send one heartbeat. Entries of running jobs that are no longer leased are leased again, or reported as lost.

        Returns the seconds until the next heartbeat."""
        before, running = frozenset(self._held()), frozenset(self._running())
        leased = await self._leases.beat(self._worker_id)
        held = self._held()
        await self._retake(running - leased)
        # A take may be in flight: an entry is stray only if two heartbeats in a row found it.
        unheard_of = leased - before - held
        for entry in unheard_of & self._unheard_of:
            self._on_stray(entry)
        self._unheard_of = unheard_of
        return self._beat_s

    async def _retake(self, entry_ids: frozenset[str]) -> None:
        """Lease entries again that the queue lost, or made visible because this worker was considered dead. Until
        another attempt claims the session, the attempt here owns it, so the job goes on."""
        running = self._running()
        entries = [running[entry_id] for entry_id in entry_ids if entry_id in running]
        if entries:
            for entry_id in await self._leases.retake(self._worker_id, entries):
                self._on_lost(entry_id)
