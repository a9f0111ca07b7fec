"""What the agents on offer take: a job's input is checked here, before anything is accepted."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from holdfast.shared.errors import AgentUnknown, NoAgents
from holdfast.shared.queue import Queue

CACHE_S = 2.0
REANNOUNCE_S = 15.0  # workers announce their agents every 10 s


class CatalogEntry(NamedTuple):
    """An agent's schema as it stood at a time of the loop's clock, and when the agent was first missing since."""

    schema: bytes
    seen_s: float
    missing_since_s: float | None = None


class AgentCatalog:
    """The schemas of the agents, each remembered for a moment.

    The queue keeps an agent for days after its last announcement. One that was there and is missing was lost with the
    queue's data, and workers announce it again within seconds."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._known: dict[str, CatalogEntry] = {}

    async def schema(self, agent: str) -> bytes:
        """The JSON schema of an agent's input. Raises AgentUnknown, or NoAgents while no agent at all is on offer."""
        now_s = asyncio.get_running_loop().time()
        known = self._known.get(agent)
        if known is not None and now_s - known.seen_s < CACHE_S:
            return known.schema
        schema = await self._queue.schema(agent)
        self._known[agent] = CatalogEntry(schema, now_s)
        return schema

    def refusal(self, agent: str, error: AgentUnknown) -> AgentUnknown:
        """The error for an agent that the queue does not have: NoAgents while it may still be announced again."""
        known = self._known.get(agent)
        if known is None or isinstance(error, NoAgents):
            return error
        now_s = asyncio.get_running_loop().time()
        since_s = now_s if known.missing_since_s is None else known.missing_since_s
        if now_s - since_s >= REANNOUNCE_S:
            del self._known[agent]
            return error
        self._known[agent] = known._replace(missing_since_s=since_s)
        return NoAgents()
