"""Gateways that authenticate, and callers with API keys."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import orjson
from holdfast.gateway.authentication.authenticator import USER_RIGHTS
from holdfast.shared import keys
from holdfast.shared.auth_store import AuthStore
from holdfast.shared.redis.client import Redis

from tests.support.served import Served, served

JOB = {"agent": "scripted", "input": "hi"}


class Caller:
    """Calls a gateway with a token."""

    def __init__(self, gateway: Served, token: str = "", **fields: str) -> None:
        self.gateway = gateway
        self.token = token
        self.headers = ({"Authorization": f"Bearer {token}"} if token else {}) | fields

    async def __call__(self, method: str, path: str, body: object = None, **fields: str) -> httpx2.Response:
        headers = self.headers | fields
        return await self.gateway.client.request(method, path, json=body, headers=headers)

    async def job(self, session_id: str = "s") -> str:
        """Post a job and return its id."""
        posted = await self("POST", f"/v1/sessions/{session_id}/jobs", JOB)
        assert posted.status_code == 202, posted.text
        return str(posted.json()["job_id"])

    async def ticket(self, session_id: str = "s", **body: Any) -> str:
        made = await self("POST", f"/v1/sessions/{session_id}/tickets", body)
        assert made.status_code == 201, made.text
        return str(made.json()["ticket"])


@asynccontextmanager
async def guarded(redis_url: str, **settings: Any) -> AsyncIterator[Served]:
    """Serve a gateway that accepts API keys, with the agent `scripted` on offer."""
    async with served(redis_url, **{"auth": "keys"} | settings) as gateway:
        await gateway.offer("scripted")
        yield gateway


async def restrict(redis: Redis, token: str, rights: Iterable[str]) -> None:
    """Leave an API key these rights only."""
    [key] = [key for key in await AuthStore(redis).keys() if key.key_id == token.split("_")[1]]
    await redis.hset(keys.AUTH_KEYS, key.key_id, orjson.dumps([*key._replace(rights=sorted(rights))]))
    await redis.incr(keys.AUTH_VERSION)


async def key_of(gateway: Served, tenant: str, rights: Iterable[str] = USER_RIGHTS, **fields: str) -> Caller:
    """Create an API key and return its caller. `fields`: header fields of every request."""
    _, token = await AuthStore(gateway.redis).create_key(tenant, list(rights))
    return Caller(gateway, token, **fields)
