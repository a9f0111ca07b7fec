"""Fixtures of the tests that talk to a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.support.log import Session


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
