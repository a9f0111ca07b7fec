"""Limits of viewers per session and address, with a real gateway."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.support.process import until
from tests.support.served import Served, served
from tests.support.sse import SseStream
from tests.support.websocket_client import open_socket


def stream(gateway: Served, session_id: str, address: str = "192.0.2.1") -> SseStream:
    url = f"{gateway.url}/v1/sessions/{session_id}/events?wait=true"
    return SseStream(url, headers={"X-Forwarded-For": address})


async def is_accepted(gateway: Served, session_id: str, address: str = "192.0.2.1") -> bool:
    """Whether the gateway accepts a stream, which ends at once."""
    async with stream(gateway, session_id, address) as opened:
        assert opened.status == 200
        first = await anext(opened.chunks())
    return first == b"retry: 1000\n\n"


@pytest.mark.parametrize(
    ("limit", "others"),
    [
        ({"session_max_viewers": 2}, [("t", "192.0.2.1"), ("t", "192.0.2.2")]),
        ({"address_max_viewers": 2}, [("s", "192.0.2.2"), ("t", "192.0.2.2")]),
    ],
)
async def test_a_viewer_beyond_a_limit_is_refused_until_one_leaves(
    redis_url: str, limit: dict[str, Any], others: list[tuple[str, str]]
) -> None:
    async with served(redis_url, trusted_proxies="127.0.0.0/8", **limit) as gateway:
        for _ in range(2):
            async with AsyncExitStack() as stack:
                for _ in range(2):
                    opened = await stack.enter_async_context(stream(gateway, "s"))
                    await anext(opened.chunks())
                assert not await is_accepted(gateway, "s")
                headers = {"Accept": "application/x-ndjson", "X-Forwarded-For": "192.0.2.1"}
                lines = await gateway.client.get("/v1/sessions/s/events?wait=true", headers=headers)
                assert lines.status_code == 503
                for session_id, address in others:
                    assert await is_accepted(gateway, session_id, address)
            await until(lambda: is_accepted(gateway, "s"))


async def test_a_websocket_counts_as_a_viewer(redis_url: str) -> None:
    async with served(redis_url, session_max_viewers=1) as gateway:
        async with open_socket(gateway.port, query="?wait=true"):
            assert not await is_accepted(gateway, "s")
        await until(lambda: is_accepted(gateway, "s"))


async def test_connections_that_break_leave_no_count_behind(redis_url: str) -> None:
    async with served(redis_url, session_max_viewers=5) as gateway:
        for _ in range(4):
            writers = []
            for _ in range(8):
                reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
                writer.write(b"GET /v1/sessions/s/events?wait=true HTTP/1.1\r\nHost: localhost\r\n\r\n")
                await reader.readuntil(b"\r\n\r\n")
                writers.append(writer)
            assert not await is_accepted(gateway, "s")
            for writer in writers:
                writer.transport.abort()
            await until(lambda: is_accepted(gateway, "s"))
