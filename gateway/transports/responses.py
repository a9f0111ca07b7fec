"""What differs from uvicorn in the way that a response is written."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


class CapturedHead:
    """Captures the head of a response in place of the transport, to send it in one write with the first bytes."""

    data = b""

    def write(self, data: bytes) -> None:
        self.data = data


class CloseDelimited:
    """ASGI wrapper for HTTP/1.0 clients, which do not know chunked encoding: closing the connection ends the body (RFC
    9112, section 6.3)."""

    def __init__(self, app: ASGIApp, cycle: RequestResponseCycle) -> None:
        self._app = app
        self._cycle = cycle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, self._send)

    async def _send(self, message: Message) -> None:
        self._cycle.chunked_encoding = False
        self._cycle.expected_content_length = len(message.get("body", b""))
        await self._cycle.send(message)  # type: ignore[arg-type]
