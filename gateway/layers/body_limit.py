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
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared, received = _declared(scope), 0

        async def limited() -> Message:
            nonlocal received
            if declared <= self._max_bytes:
                message = await receive()
                received += len(message.get("body", b""))
                if received <= self._max_bytes:
                    return message
            raise BodyTooLarge(f"The body must have at most {self._max_bytes} bytes")

        await self.app(scope, limited, send)


def _declared(scope: Scope) -> int:
    """Return the size that the request declares; 0 if it declares none, or one that is no number."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value[:20])
    return 0
