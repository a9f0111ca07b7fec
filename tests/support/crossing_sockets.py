"""Access that is taken away while a WebSocket is open. Nothing may be used of it after LIMIT_S."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx2
from holdfast.gateway.authentication.authenticator import USER_RIGHTS
from holdfast.shared.auth_store import AuthStore, Tenant
from holdfast.shared.redis.client import Redis, connect
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from tests.support.access import restrict
from tests.support.crossing_findings import Findings
from tests.support.websocket_client import open_socket, request

LIMIT_S = 5.0
JOB: dict[str, Any] = {"agent": "scripted", "input": "x", "options": {"model": "m", "tokens": 1, "interval_ms": 0}}


class User(NamedTuple):
    """A tenant of its own, with a key and the session `s`. `client`: sends the key."""

    tenant: str
    token: str
    client: httpx2.AsyncClient
    redis: Redis

    @property
    def store(self) -> AuthStore:
        return AuthStore(self.redis)

    async def ticket(self) -> str:
        body = {"rights": ["read", "submit"]}
        return str((await self.client.post("/v1/sessions/s/tickets", json=body)).json()["ticket"])


async def _revoke_tickets(user: User) -> None:
    (await user.client.delete("/v1/sessions/s/tickets")).raise_for_status()


async def _delete_session(user: User) -> None:
    (await user.client.delete("/v1/sessions/s")).raise_for_status()


class Change(NamedTuple):
    """What is taken away. `by_ticket`: from a WebSocket that was opened with a ticket."""

    name: str
    take: Callable[[User], Awaitable[object]]
    by_ticket: bool = False


OF_BOTH = {
    "an agent": lambda user: user.store.set_tenant(user.tenant, Tenant(["another"], None)),
    "a model": lambda user: user.store.set_tenant(user.tenant, Tenant(None, ["another"])),
    "the right to submit": lambda user: restrict(user.redis, user.token, ["read"]),
    "the right to read": lambda user: restrict(user.redis, user.token, ["submit"]),
    "the key": lambda user: user.store.revoke_key(user.token.split("_")[1]),
    "the session": _delete_session,
}
OF_TICKETS = {
    "the ticket": _revoke_tickets,
    "the tenant's tickets": lambda user: user.store.revoke_tickets(user.tenant),
}
CHANGES = [
    *(
        Change(f"WebSocket by {kind}: {name} is taken", take, kind == "ticket")
        for kind in ("key", "ticket")
        for name, take in OF_BOTH.items()
    ),
    *(Change(f"WebSocket by ticket: {name} is revoked", take, True) for name, take in OF_TICKETS.items()),
]


async def take_away(url: str, redis_url: str, findings: Findings) -> None:
    """Make each change beside a WebSocket that is open, and count what is used after LIMIT_S."""
    await asyncio.gather(*(_take(change, f"socket-{n}", url, redis_url, findings) for n, change in enumerate(CHANGES)))


async def _take(change: Change, tenant: str, url: str, redis_url: str, findings: Findings) -> None:
    async with _user(tenant, url, redis_url) as user:
        token = await user.ticket() if change.by_ticket else user.token
        port = httpx2.URL(url).port or 0
        async with open_socket(port, additional_headers={"Authorization": f"Bearer {token}"}) as socket:
            if (await request(socket, type="job", **JOB))["type"] != "reply":
                findings.wrong.append(f"{change.name}: it could not be used before")
            await change.take(user)
            await asyncio.sleep(LIMIT_S)
            used, status = await _use(socket)
            findings.attempts[change.name] += 1
            findings.statuses[change.name][status] += 1
            if used:
                findings.wrong.append(f"{change.name}: it was used {LIMIT_S} s later")


async def _use(socket: ClientConnection) -> tuple[bool, int]:
    """Post a job. Returns whether it was accepted, and the status of the refusal or the code of the closed socket."""
    try:
        reply = await request(socket, type="job", **JOB)
    except ConnectionClosed as closed:
        return False, 0 if closed.rcvd is None else closed.rcvd.code
    return reply["type"] == "reply", reply.get("status", 202) if reply["type"] == "error" else 202


@asynccontextmanager
async def _user(tenant: str, url: str, redis_url: str) -> AsyncIterator[User]:
    redis = connect(redis_url, max_connections=1)
    _, token = await AuthStore(redis).create_key(tenant, USER_RIGHTS)
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=60) as client:
        (await client.post("/v1/sessions/s/jobs", json=JOB)).raise_for_status()
        yield User(tenant, token, client, redis)
    await redis.aclose()
