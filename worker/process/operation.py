"""What the operators of a worker read on its port for metrics: its liveness, its readiness and its metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from holdfast.shared.metrics.listener import Page, Pages, health_page, listening, metrics_page
from holdfast.shared.metrics.vitals import Vitals
from holdfast.shared.redis.client import Redis
from holdfast.worker.process.deliveries import Deliveries
from holdfast.worker.process.lease import Lease
from holdfast.worker.process.metrics import worker_registry
from holdfast.worker.process.settings import WorkerSettings
from holdfast.worker.process.watchdog import KEPT_LEASES

SHORTEST_BLOCK_SECONDS = 30.0


class Operation:
    """The liveness, the readiness and the metrics of one worker.

    `slots`: how many jobs it may run now; 0 once it stops. `servers`: the client of each Redis server, by its name."""

    def __init__(
        self,
        settings: WorkerSettings,
        deliveries: Deliveries,
        lease: Lease,
        slots: Callable[[], int],
        servers: Mapping[str, Redis],
    ) -> None:
        self._settings = settings
        self._lease = lease
        self._slots = slots
        self._registry = worker_registry(deliveries, lease, slots)
        self.vitals = Vitals("worker", servers, self._registry)

    def listening(self) -> AbstractContextManager[None]:
        """Serve them during the block, if the settings have a port. Raises SettingsInvalid."""
        if self._settings.metrics_port is None:
            return nullcontext()
        pages: Pages = {
            "/livez": self._liveness,
            "/readyz": self._readiness,
            "/metrics": partial(metrics_page, self._registry),
        }
        return listening(self._settings.metrics_host, self._settings.metrics_port, pages)

    def _liveness(self) -> Page:
        """An event loop that is blocked for longer than its lease is kept has lost all its jobs already."""
        longest_s = max(KEPT_LEASES * self._settings.lease_seconds, SHORTEST_BLOCK_SECONDS)
        blocked_s = time.monotonic() - self.vitals.ticked_s
        return health_page(
            "alive", [f"the event loop is blocked for {blocked_s:.0f} s"] if blocked_s > longest_s else []
        )

    def _readiness(self) -> Page:
        reasons = [f"{name} redis: does not answer" for name, up in self.vitals.up.items() if not up]
        silent_s = time.monotonic() - self._lease.beat_at_s
        if silent_s > self._settings.lease_seconds:
            reasons.append(f"no heartbeat for {silent_s:.0f} s")
        if not self._slots():
            reasons.append("the worker is stopping")
        return health_page("ready", reasons)
