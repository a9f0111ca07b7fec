"""What the agents on offer take: a job's input is checked here, before anything is accepted."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from shared.errors import AgentUnknown
from shared.queue import Queue

MEMORY_S = 2.0


class Offer(NamedTuple):
    """An agent's schema as it stood at a time of the loop's clock."""

    schema: bytes
    seen_s: float


class Offers:
    """The schemas of the agents, each remembered for a moment."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._known: dict[str, Offer] = {}

    async def schema(self, agent: str) -> bytes:
        """The JSON schema of an agent's input. Raises AgentUnknown, or NoAgents while no agent at all is on offer."""
        now_s = asyncio.get_running_loop().time()
        known = self._known.get(agent)
        if known is not None and now_s - known.seen_s < MEMORY_S:
            return known.schema
        try:
            schema = await self._queue.schema(agent)
        except AgentUnknown:
            self._known.pop(agent, None)
            raise
        self._known[agent] = Offer(schema, now_s)
        return schema
