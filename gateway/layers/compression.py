"""Compression of complete responses. Event streams compress on their own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from holdfast.gateway.coding import Accepted, Encoder, accepted
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MIN_BYTES = 1024
PIECE_BYTES = 64 * 1024
_TYPES = (b"application/json", b"application/x-ndjson", b"image/svg+xml", b"text/")
_VARY = (b"vary", b"Accept-Encoding")
_OF_THE_PLAIN_BODY = frozenset({b"content-length", b"content-encoding"})


class Compression:
    """ASGI layer: compress the body of a successful GET, piece by piece, with a coding that the client accepts."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "GET":
            send = _CompressedResponse(send, accepted(scope["headers"])).send
        await self.app(scope, receive, send)


class _CompressedResponse:
    """One response. Its start is held back until the first piece of the body shows whether compression pays."""

    def __init__(self, send: Send, accepts: Accepted) -> None:
        self._send = send
        self._accepts = accepts
        self._start: Message | None = None
        self._encoder: Encoder | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_compressible(message):
            message["headers"] = [*message["headers"], _VARY]
            if message["status"] == 200 and self._accepts.coding is not None:
                self._start = message
                return
        if self._start is not None:
            await self._send(self._begin(self._start, message))
        if self._encoder is None:
            await self._send(message)
        else:
            await self._encode(self._encoder, message)

    def _begin(self, start: Message, body: Message) -> Message:
        """Choose the coding by the first piece of the body, and return the matching response start."""
        self._start = None
        coding, pays = self._accepts.coding, body.get("more_body") or len(body.get("body", b"")) >= MIN_BYTES
        if coding is not None and (pays or not self._accepts.identity):
            self._encoder = coding.encoder()
            start["headers"] = [*_for_encoded(start["headers"]), (b"content-encoding", coding.name)]
        return start

    async def _encode(self, encoder: Encoder, message: Message) -> None:
        """Send a piece of a body in pieces of PIECE_BYTES, and let other tasks run in between."""
        body, more = message.get("body", b""), message.get("more_body", False)
        rest = max(0, len(body) - 1) // PIECE_BYTES * PIECE_BYTES
        for start in range(0, rest, PIECE_BYTES):
            encoded = encoder.encode(body[start : start + PIECE_BYTES], last=False)
            await self._send({"type": "http.response.body", "body": encoded, "more_body": True})
            await asyncio.sleep(0)
        encoded = encoder.encode(body[rest:], last=not more)
        await self._send({"type": "http.response.body", "body": encoded, "more_body": more})


def _is_compressible(start: Message) -> bool:
    """Return whether the response may be encoded differently for other clients."""
    fields = dict(start["headers"])
    return (
        start["status"] in (200, 304)
        and b"content-encoding" not in fields
        and fields.get(b"content-type", b"").startswith(_TYPES)
    )


def _for_encoded(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the header fields for the encoded body. A strong ETag becomes weak, since the bytes differ."""
    return [
        (name, b"W/" + value if name == b"etag" and not value.startswith(b"W/") else value)
        for name, value in headers
        if name not in _OF_THE_PLAIN_BODY
    ]
