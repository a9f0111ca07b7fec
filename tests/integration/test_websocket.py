"""Events, jobs, cancellations and answers over a WebSocket, with the client of the `websockets` package."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.log import Session
from tests.support.process import Processes, until
from tests.support.served import Served, served

SUBPROTOCOL = "holdfast.v1"


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    async with served(redis_url, ping_seconds=0.2) as gateway:
        await gateway.offer("scripted")
        yield gateway


def open_socket(gateway: Served, session_id: str = "s", query: str = "", **options: Any) -> connect:
    url = f"ws://127.0.0.1:{gateway.port}/v1/sessions/{session_id}/ws{query}"
    return connect(url, proxy=None, **options)


async def receive(socket: ClientConnection) -> dict[str, Any]:
    received = await asyncio.wait_for(socket.recv(), 20)
    assert isinstance(received, str)
    message: dict[str, Any] = json.loads(received)
    return message


async def receive_until(socket: ClientConnection, **wanted: Any) -> list[dict[str, Any]]:
    """The messages up to the first with these members."""
    messages = [await receive(socket)]
    while not wanted.items() <= messages[-1].items():
        messages.append(await receive(socket))
    return messages


async def closed(socket: ClientConnection) -> tuple[int, str]:
    """Code and reason of the gateway's close frame, after the messages before it."""
    with pytest.raises(ConnectionClosed) as caught:
        while True:
            await receive(socket)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code, caught.value.rcvd.reason


class TestEvents:
    async def test_each_event_is_a_message_with_its_id(self, gateway: Served, session: Session) -> None:
        attempt = await session.started()
        await session.append(attempt, 1, "tea")
        async with open_socket(gateway) as socket:
            started, delta = await receive(socket), await receive(socket)
        assert (started["id"], started["type"]) == (f"{attempt.epoch}-1", "job.started")
        assert (delta["id"], delta["text"]) == (f"{attempt.epoch}-2", "tea")

    async def test_events_are_those_of_ndjson(self, gateway: Served, session: Session) -> None:
        attempt = await session.started()
        await session.append(attempt, 1, "a", "b")
        await session.finish(attempt, 3)
        async with open_socket(gateway) as socket:
            messages = await receive_until(socket, type="job.completed")
        answer = await gateway.client.get(
            "/v1/sessions/s/jobs/j1/events", headers={"Accept": "application/x-ndjson"}
        )
        assert messages == [json.loads(line) for line in answer.text.splitlines() if line]
