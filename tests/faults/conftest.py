"""Fixtures of the fault tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
from holdfast.shared.redis.client import Redis, connect

from tests.support.patience import patient
from tests.support.workers import Client


@pytest.fixture
async def admin_of() -> AsyncIterator[Callable[[str], Redis]]:
    """`admin_of(server.url)`: a connection for looking at a server and for breaking things on it."""
    opened: list[Redis] = []

    def open_(url: str) -> Redis:
        opened.append(patient(connect(url, max_connections=2, socket_timeout_s=20)))
        return opened[-1]

    yield open_
    for admin in opened:
        await admin.aclose()


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    """What a gateway does, on an empty server."""
    client = Client(redis_url)
    yield client
    await client.close()
