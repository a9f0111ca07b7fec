"""What the agents on offer take: a job's input is checked here, before anything is accepted."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from gateway.schema import check
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

    async def check(self, agent: str, given: Any) -> None:
        """Raises AgentUnknown, and BodyInvalid, which names every field of the input that the agent does not take."""
        offer = await self._offer(agent)
        check(given, offer.schema, "input")

    async def _offer(self, agent: str) -> Offer:
        now_s = asyncio.get_running_loop().time()
        known = self._known.get(agent)
        if known is not None and now_s - known.seen_s < MEMORY_S:
            return known
        schema = await self._queue.schema(agent)
        if schema is None:
            self._known.pop(agent, None)
            raise AgentUnknown(f"agent: no worker offers {agent!r}; GET /v1/agents lists those on offer")
        self._known[agent] = Offer(schema, now_s)
        return self._known[agent]
