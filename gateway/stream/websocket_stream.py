"""An event stream over a WebSocket, as the ASGI response to the request that offers one."""

from __future__ import annotations

from typing import Any, NamedTuple

from holdfast.gateway.errors import UpgradeRequired
from holdfast.gateway.stream.hub import StreamHub
from holdfast.gateway.stream.response import EventStream
from holdfast.gateway.stream.viewer import StreamRequest
from holdfast.gateway.transports.connection import Connection
from holdfast.gateway.transports.inbox import Answer
from holdfast.gateway.transports.transport import Transport
from holdfast.gateway.transports.uvicorn import EXTENSION, StreamProtocol
from holdfast.gateway.transports.websocket import WebSocketTransport
from holdfast.gateway.transports.websocket_handshake import accepting_fields
from holdfast.shared.log.event_log import Page
from starlette.types import Receive, Scope, Send


class Handshake(NamedTuple):
    """An accepted handshake. `fields`: of the response. `answer`: answers the client's messages of at most
    `max_bytes`."""

    fields: bytes
    answer: Answer
    max_bytes: int

    async def hand_over(self, protocol: StreamProtocol, send: Send) -> WebSocketTransport | None:
        """Accept, and return the transport; None when the client has disconnected."""
        return await protocol.hand_over(send, self.fields, self._transport, status=101)

    def _transport(self, connection: Connection, head: bytes, **_: Any) -> WebSocketTransport:
        return WebSocketTransport(connection, head, self.answer, self.max_bytes)


def shake_hands(scope: Scope, answer: Answer, max_bytes: int) -> Handshake:
    """Check the handshake of a request. Raises UpgradeRequired if it offers no WebSocket, RequestMalformed."""
    if not _protocol(scope).offers_websocket:
        raise UpgradeRequired
    return Handshake(accepting_fields(scope["headers"]), answer, max_bytes)


class WebSocketStream(EventStream):
    """The ASGI response to a request that offers a WebSocket."""

    def __init__(self, hub: StreamHub, handshake: Handshake, request: StreamRequest, first: Page | None = None) -> None:
        super().__init__(hub, request, first)
        self._handshake = handshake

    async def _hand_over(self, protocol: StreamProtocol, send: Send) -> Transport | None:
        return await self._handshake.hand_over(protocol, send)


async def close_at_once(handshake: Handshake, scope: Scope, receive: Receive, send: Send) -> None:
    """ASGI app: accept the WebSocket and close it with code 1000, since no event follows.

    A browser shows a page nothing of a refused handshake, not even its status."""
    transport = await handshake.hand_over(_protocol(scope), send)
    if transport is not None:
        transport.write(b"", more=False)


def _protocol(scope: Scope) -> StreamProtocol:
    protocol: StreamProtocol = scope["extensions"][EXTENSION]["connection"]
    return protocol
