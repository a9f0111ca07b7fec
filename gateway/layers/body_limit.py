"""The limit of a request body's size."""

from __future__ import annotations

from holdfast.shared.errors import BodyTooLarge
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """ASGI layer: raise BodyTooLarge when more than `max_bytes` of a body are read."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            receive = _LimitedBody(receive, self._max_bytes, _declared(scope)).receive
        await self.app(scope, receive, send)


class _LimitedBody:
    def __init__(self, receive: Receive, max_bytes: int, declared: int) -> None:
        self._receive = receive
        self._max_bytes = max_bytes
        self._declared = declared
        self._received = 0

    async def receive(self) -> Message:
        if self._declared > self._max_bytes:
            raise self._too_large()
        message = await self._receive()
        self._received += len(message.get("body", b""))
        if self._received > self._max_bytes:
            raise self._too_large()
        return message

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"The body must have at most {self._max_bytes} bytes")


def _declared(scope: Scope) -> int:
    """Return the size that the request declares; 0 if it declares none, or one that is no number."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value[:20])
    return 0
