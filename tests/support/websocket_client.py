"""A WebSocket viewer of a gateway, on the client of the `websockets` package."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

SECONDS = 20


def open_socket(port: int, session_id: str = "s", query: str = "", **options: Any) -> connect:
    url = f"{'wss' if 'ssl' in options else 'ws'}://127.0.0.1:{port}/v1/sessions/{session_id}/ws{query}"
    return connect(url, proxy=None, **options)


async def receive(socket: ClientConnection) -> dict[str, Any]:
    """The next message."""
    received = await asyncio.wait_for(socket.recv(), SECONDS)
    assert isinstance(received, str)
    message: dict[str, Any] = json.loads(received)
    return message


async def receive_until(socket: ClientConnection, **wanted: Any) -> list[dict[str, Any]]:
    """The messages up to the first with these members."""
    messages = [await receive(socket)]
    while not wanted.items() <= messages[-1].items():
        messages.append(await receive(socket))
    return messages


async def request(socket: ClientConnection, **message: Any) -> dict[str, Any]:
    """The reply to this message."""
    await socket.send(json.dumps(message))
    while (received := await receive(socket))["type"] not in ("reply", "error"):
        pass
    return received


async def until_closed(socket: ClientConnection) -> tuple[list[dict[str, Any]], int, str]:
    """The messages before the gateway's close frame, its code and its reason."""
    messages: list[dict[str, Any]] = []
    with contextlib.suppress(ConnectionClosed):
        while True:
            messages.append(await receive(socket))
    await socket.wait_closed()
    received = socket.protocol.close_rcvd
    assert received is not None, "the connection was dropped"
    return messages, received.code, received.reason
