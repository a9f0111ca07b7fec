"""Fixtures of the tests that talk to a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import uvloop

from tests.support.access import Caller, key_of
from tests.support.log import Session
from tests.support.served import Served

# asyncio's own event loop reads and calls back in another order than that of a gateway.
ON_UVLOOP = {
    "test_connection_limits.py",
    "test_stream_connection.py",
    "test_websocket.py",
    "test_websocket_messages.py",
}


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Tests of connections run on the event loop of a gateway process, as do the gateways in them."""
    if item.path.name in ON_UVLOOP:
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


@pytest.fixture
async def open_session(redis_url: str) -> AsyncIterator[Callable[..., Session]]:
    """`open_session(max_attempts=2)`: a session on an empty server, with settings of its own."""
    opened: list[Session] = []

    def open_(**settings: Any) -> Session:
        opened.append(Session(redis_url, **settings))
        return opened[-1]

    yield open_
    for session in opened:
        await session.aclose()


@pytest.fixture
def session(open_session: Callable[..., Session]) -> Session:
    return open_session()


@pytest.fixture
async def owner(gateway: Served) -> Caller:
    """A caller with the session `s`, on the gateway of the test's file, which requires credentials."""
    caller = await key_of(gateway, "acme")
    await caller.job()
    return caller


@pytest.fixture
async def sdk(gateway: Served) -> AsyncIterator[Any]:
    """OpenAI's own client of the gateway of the test's file."""
    from openai import AsyncOpenAI  # noqa: PLC0415 - most tests have no need of it

    async with AsyncOpenAI(base_url=f"{gateway.url}/openai/v1", api_key="none", max_retries=0, timeout=60) as sdk:
        yield sdk
