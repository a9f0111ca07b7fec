"""An echo server on the gateway's HTTP protocol and WebSocket transport, for Autobahn's suite: `… PORT`."""

from __future__ import annotations

import sys
from typing import Any

import uvicorn
from holdfast.gateway.transports.request_head import ConnectionLimits
from holdfast.gateway.transports.uvicorn import EXTENSION, HttpServer, StreamProtocol
from holdfast.gateway.transports.websocket import WebSocketTransport
from holdfast.gateway.transports.websocket_frames import BINARY, TEXT, frame
from holdfast.gateway.transports.websocket_handshake import accepting_fields
from holdfast.gateway.transports.websocket_reader import Received, WebSocketReader
from starlette.types import Receive, Scope, Send

MAX_BYTES = 16 * 1024 * 1024  # of the suite's largest message


class EchoReader(WebSocketReader):
    """Accepts binary messages too, which the gateway refuses."""

    __slots__ = ()

    messages = frozenset({TEXT, BINARY})


class Echo(WebSocketTransport):
    """Returns every message."""

    __slots__ = ()

    new_reader = EchoReader

    def _process(self, received: Received) -> None:
        if received.opcode == BINARY and not self._close_sent:
            self._put(frame(BINARY, received.payload))
        else:
            super()._process(received)


async def echo(text: bytes) -> bytes:
    return text


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    protocol: StreamProtocol = scope["extensions"][EXTENSION]["connection"]

    def make(connection: Any, head: bytes, **_: bool) -> Echo:
        return Echo(connection, head, echo, MAX_BYTES)

    transport = await protocol.hand_over(send, accepting_fields(scope["headers"]), make, 101)
    if transport is not None:
        transport.write(b"")


def main() -> None:
    http: Any = HttpServer(ConnectionLimits())
    config = uvicorn.Config(app, port=int(sys.argv[1]), http=http, ws="none", lifespan="off", log_level="warning")
    uvicorn.Server(config).run()


if __name__ == "__main__":
    main()
