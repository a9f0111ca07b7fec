"""A ticket that a stream renews is the one that the Python clients send from then on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from holdfast.client import Client

from tests.support.access import Caller, guarded, key_of
from tests.support.process import until
from tests.support.served import Served


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    async with guarded(redis_url) as gateway:
        yield gateway


async def test_a_client_goes_on_with_the_ticket_that_its_stream_brought(gateway: Served) -> None:
    owner = await key_of(gateway, "acme")
    await owner.job()
    ticket = await owner.ticket(expires_in_s=2)

    async def expired() -> bool:
        return (await Caller(gateway, ticket)("GET", "/v1/sessions/s")).status_code == 401

    async with Client(gateway.url, token=ticket) as client:
        reading = asyncio.create_task(_read(client))
        await until(expired)
        assert (await client.session("s"))["session_id"] == "s"
        assert not reading.done()
        reading.cancel()


async def _read(client: Client) -> None:
    async for event in client.stream("s"):
        raise AssertionError(event.type)  # a renewed ticket is not shown as an event
