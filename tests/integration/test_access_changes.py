"""What is taken from a caller is gone on a WebSocket that is open."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from holdfast.shared.auth_store import AuthStore, Tenant
from websockets.asyncio.client import ClientConnection

from tests.support.access import Caller, guarded, key_of, restrict
from tests.support.process import until
from tests.support.served import Served
from tests.support.websocket_client import open_socket, request, until_closed

JOB = {"type": "job", "agent": "scripted", "input": "hi", "on_busy": "queue"}


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    async with guarded(redis_url) as gateway:
        yield gateway


@pytest.fixture
async def caller(gateway: Served) -> Caller:
    caller = await key_of(gateway, "acme")
    await caller.job()
    return caller


@asynccontextmanager
async def socket_of(gateway: Served, caller: Caller) -> AsyncIterator[ClientConnection]:
    async with open_socket(gateway.port, additional_headers=caller.headers) as socket:
        assert (await request(socket, **JOB))["type"] == "reply"
        yield socket


async def until_refused(socket: ClientConnection, code: str, **message: Any) -> None:
    async def refused() -> bool:
        reply = await request(socket, **message)
        return (reply["type"], reply.get("code")) == ("error", code)

    await until(refused)


async def test_an_agent_that_is_taken_from_a_tenant(gateway: Served, caller: Caller) -> None:
    async with socket_of(gateway, caller) as socket:
        await AuthStore(gateway.redis).set_tenant("acme", Tenant(["cheap"], None))
        await until_refused(socket, "agent_unknown", **JOB)


async def test_a_model_that_is_taken_from_a_tenant(gateway: Served, caller: Caller) -> None:
    job = JOB | {"options": {"model": "dear"}}
    async with socket_of(gateway, caller) as socket:
        assert (await request(socket, **job))["type"] == "reply"
        await AuthStore(gateway.redis).set_tenant("acme", Tenant(None, ["cheap"]))
        await until_refused(socket, "invalid_request", **job)


@pytest.mark.parametrize("by_ticket", [False, True], ids=["key", "ticket"])
async def test_a_right_that_is_taken_from_a_key(gateway: Served, caller: Caller, by_ticket: bool) -> None:
    user = Caller(gateway, await caller.ticket(rights=["read", "submit"])) if by_ticket else caller
    async with socket_of(gateway, user) as socket:
        await restrict(gateway.redis, caller.token, ["read"])
        await until_refused(socket, "forbidden", **JOB)


async def test_the_right_to_read_that_is_taken_from_a_key(gateway: Served, caller: Caller) -> None:
    async with socket_of(gateway, caller) as socket:
        await restrict(gateway.redis, caller.token, ["submit"])
        await until_closed(socket)


async def test_a_key_that_is_revoked(gateway: Served, caller: Caller) -> None:
    async with socket_of(gateway, caller) as socket:
        await AuthStore(gateway.redis).revoke_key(caller.token.split("_")[1])
        await until_closed(socket)
