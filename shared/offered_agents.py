"""The agents that workers offer, with their input schemas, on the queue server."""

from __future__ import annotations

from typing import Any

import orjson
from holdfast.shared import keys
from holdfast.shared.errors import AgentUnknown, NoAgents
from holdfast.shared.redis.client import Redis

MEMORY_US = 7 * 86_400 * 1_000_000


class OfferedAgents:
    """The agents that were offered within 7 days. Every call raises RedisError when the queue server does not
    answer."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def schemas(self) -> dict[str, dict[str, Any]]:
        """Return the JSON schema of each agent's input."""
        oldest = await self._now_us() - MEMORY_US
        names = await self._redis.zrangebyscore(keys.AGENTS_SEEN, oldest, "+inf")
        if not names:
            return {}
        schemas = await self._redis.hmget(keys.AGENTS, names)
        offers = sorted(zip(names, schemas, strict=True))
        return {name.decode(): orjson.loads(schema) for name, schema in offers if schema is not None}

    async def schema(self, agent: str) -> bytes:
        """Return the JSON schema of an agent's input. Raises AgentUnknown, and NoAgents when no agent at all is
        offered."""
        schema: bytes | None = await self._redis.hget(keys.AGENTS, agent)
        if schema is None and not await self._redis.exists(keys.AGENTS):
            raise NoAgents
        schema = schema or await self._redis.hget(keys.AGENTS, agent)  # it may have been announced in between
        if schema is None:
            raise unknown(agent)
        return schema

    async def offer(self, agents: dict[str, dict[str, Any]]) -> None:
        """Announce the agents of a worker, and forget those that no worker has offered for 7 days."""
        now = await self._now_us()
        forgotten = await self._redis.zrangebyscore(keys.AGENTS_SEEN, "-inf", now - MEMORY_US)
        forgetting = [("ZREM", keys.AGENTS_SEEN, *forgotten), ("HDEL", keys.AGENTS, *forgotten)] if forgotten else []
        seen = [part for name in agents for part in (now, name)]
        schemas = [part for name, schema in agents.items() for part in (name, orjson.dumps(schema))]
        offering = ("ZADD", keys.AGENTS_SEEN, *seen), ("HSET", keys.AGENTS, *schemas)
        await self._redis.transaction(*forgetting, *offering)

    async def _now_us(self) -> int:
        seconds, micros = await self._redis.time()
        return int(seconds) * 1_000_000 + int(micros)


def unknown(agent: str) -> AgentUnknown:
    return AgentUnknown(f"agent: no worker offers {agent!r}; GET /v1/agents lists those on offer")
