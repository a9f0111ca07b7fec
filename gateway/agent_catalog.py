"""The input schemas of the available agents, cached briefly."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from holdfast.gateway.principal import Principal
from holdfast.shared.errors import AgentUnknown, NoAgents
from holdfast.shared.offered_agents import OfferedAgents

CACHE_S = 2.0
REANNOUNCE_S = 15.0  # workers announce their agents every 10 s


class CatalogEntry(NamedTuple):
    """An agent's schema, the loop time when it was read, and when the agent was first missing afterwards."""

    schema: bytes
    seen_s: float
    missing_since_s: float | None = None


class AgentCatalog:
    """Caches the schema of each agent for CACHE_S.

    The queue server keeps an agent for days after its last announcement. So an agent that disappears was lost with the
    server's data, and workers announce it again within seconds: for REANNOUNCE_S the error is NoAgents, which clients
    retry."""

    def __init__(self, offered: OfferedAgents) -> None:
        self._offered = offered
        self._known: dict[str, CatalogEntry] = {}

    async def schemas(self, caller: Principal) -> dict[str, dict[str, Any]]:
        """Return the JSON schema of the input of each agent that the caller may use, not cached."""
        offered = await self._offered.schemas()
        return {name: schema for name, schema in offered.items() if caller.may_use(name)}

    async def schema(self, agent: str) -> bytes:
        """Return the JSON schema of an agent's input. Raises AgentUnknown, or NoAgents while no agent is announced."""
        now_s = asyncio.get_running_loop().time()
        known = self._known.get(agent)
        if known is not None and now_s - known.seen_s < CACHE_S:
            return known.schema
        schema = await self._offered.schema(agent)
        self._known[agent] = CatalogEntry(schema, now_s)
        return schema

    def refusal(self, agent: str, error: AgentUnknown) -> AgentUnknown:
        """Return the error for an agent that the queue lacks: NoAgents while the agent may be announced again."""
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
