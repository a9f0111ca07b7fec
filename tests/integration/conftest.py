"""Fixtures of the tests that talk to a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import uvloop

from tests.support.log import Session

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
