"""What a worker tells operators with each heartbeat."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from importlib.metadata import version

from holdfast.shared.workers import MOST_AGENTS, Status
from holdfast.worker.process.measures import DELTAS, FIRST_TOKEN, STARTED, measures


class StatusReport:
    """The status of this worker. `agents`: the names of those that it offers. `slots`: HOLDFAST_MAX_JOBS."""

    def __init__(self, agents: Iterable[str], slots: int) -> None:
        self._agents = sorted(agents)[:MOST_AGENTS]
        self._slots = slots
        self._version = version("holdfast-gateway")
        self._started_at = int(time.time() * 1000)

    def status(self, *, draining: bool) -> Status:
        """Return the status of this moment."""
        first_tokens, first_token_s = measures.observed(FIRST_TOKEN)
        return {
            "version": self._version,
            "pid": os.getpid(),
            "started_at": self._started_at,
            "agents": self._agents,
            "slots": self._slots,
            "draining": draining,
            "deltas": measures.counted(DELTAS),
            "attempts": measures.counted(STARTED),
            "first_tokens": first_tokens,
            "first_token_s": round(first_token_s, 3),
        }
