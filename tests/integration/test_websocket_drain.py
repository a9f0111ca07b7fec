"""What becomes of the messages of WebSocket clients when a gateway stops. A real server; the test answers itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn
from holdfast.gateway.transports.request_head import ConnectionLimits
from holdfast.gateway.transports.uvicorn import EXTENSION, HttpServer
from holdfast.gateway.transports.uvicorn_server import GatewayServer
from holdfast.gateway.transports.websocket import WebSocketTransport
from holdfast.gateway.transports.websocket_frames import close_frame
from holdfast.gateway.transports.websocket_handshake import accepting_fields
from starlette.types import Receive, Scope, Send
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from tests.support.process import until
from tests.support.websocket_client import SECONDS, open_socket


@dataclass
class Desk:
    """An ASGI app that streams nothing, and answers messages once they are released. `log`: what has happened."""

    log: list[str] = field(default_factory=list)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            self.log.append("end of the lifespan")
            await send({"type": "lifespan.shutdown.complete"})
            return
        protocol = scope["extensions"][EXTENSION]["connection"]
        transport = await protocol.hand_over(send, accepting_fields(scope["headers"]), self.make, 101)
        transport.on_shutdown = lambda: transport.write(close_frame(1013, "retry=1"), more=False)
        transport.write(b"")

    def make(self, connection: Any, head: bytes, **_: bool) -> WebSocketTransport:
        return WebSocketTransport(connection, head, self.answer, 1000)

    async def answer(self, text: bytes) -> bytes:
        self.log.append(f"begun {text.decode()}")
        await self.released.wait()
        self.log.append(f"done {text.decode()}")
        return text


@dataclass
class Served:
    desk: Desk
    server: GatewayServer
    serving: asyncio.Task[None]

    def connect(self) -> Any:
        return open_socket(self.server.servers[0].sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop the server, which takes 0.2 s unless it waits for something."""
        self.server.should_exit = True
        await asyncio.wait([self.serving], timeout=0.5)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    desk, http = Desk(), HttpServer(ConnectionLimits())
    config = uvicorn.Config(desk, port=0, http=http, ws="none", lifespan="on", log_level="warning")  # type: ignore[arg-type]
    server = GatewayServer(config)
    serving = asyncio.create_task(server._serve())
    await until(lambda: server.started)
    yield Served(desk, server, serving)
    desk.released.set()
    server.should_exit = True
    await serving


async def rest(socket: ClientConnection) -> list[str | bytes]:
    """The messages up to the close frame of the server."""
    messages = []
    with contextlib.suppress(ConnectionClosed):
        while True:
            messages.append(await socket.recv())
    return messages


async def test_a_stopping_gateway_waits_for_the_messages_of_clients_that_are_gone(served: Served) -> None:
    async with served.connect() as socket:
        await socket.send("1")
        await until(lambda: served.desk.log == ["begun 1"])
    await served.stop()
    served.desk.released.set()
    await asyncio.wait_for(served.serving, SECONDS)
    assert served.desk.log == ["begun 1", "done 1", "end of the lifespan"]


async def test_a_stopping_gateway_answers_what_it_carries_out_before_it_closes(served: Served) -> None:
    async with served.connect() as socket:
        await socket.send("1")
        await until(lambda: served.desk.log == ["begun 1"])
        await served.stop()
        await socket.send("late")
        served.desk.released.set()
        assert await asyncio.wait_for(rest(socket), SECONDS) == ["1"]
        assert (socket.close_code, socket.close_reason) == (1013, "retry=1")
    await asyncio.wait_for(served.serving, SECONDS)
    assert served.desk.log == ["begun 1", "done 1", "end of the lifespan"]
