"""Cross-origin resource sharing (Fetch standard, "CORS protocol")."""

from __future__ import annotations

import re
from collections.abc import Collection

from holdfast.gateway.errors import METHODS
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PREFLIGHT_SECONDS = 7200  # Chromium caches a preflight no longer
REQUEST_HEADERS = (
    "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-Run-Id, X-Api-Key, MCP-Protocol-Version, "
    "Mcp-Method, Mcp-Name, A2A-Version"
)
EXPOSED_HEADERS = (
    "Location, Content-Location, Idempotency-Replayed, x-workflow-run-id, x-workflow-stream-tail-index, "
    "x-vercel-ai-ui-message-stream, Stream-Next-Offset, Stream-Up-To-Date, Stream-Cursor, Stream-Closed, "
    "ETag, Retry-After, X-Request-Id, X-Should-Retry, Holdfast-Ignored"
)
_VARY = (b"vary", b"Origin")
_NAMES = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~, -]*")  # RFC 9110, section 5.6.2


class Cors:
    """ASGI layer: answer preflights, and let pages of `origins` read every response, including errors and streams."""

    def __init__(self, app: ASGIApp, origins: Collection[bytes]) -> None:
        self.app = app
        self._fields = {origin: _fields_for(origin) for origin in origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = dict(scope["headers"])
        fields = self._fields.get(given.get(b"origin", b""))
        if fields and scope["method"] == "OPTIONS" and b"access-control-request-method" in given:
            await _preflight(given)(scope, receive, send)
            return
        added = fields or [_VARY]

        async def send_readable(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *added]
            await send(message)

        await self.app(scope, receive, send_readable)


def _fields_for(origin: bytes) -> list[tuple[bytes, bytes]]:
    exposed = (b"access-control-expose-headers", EXPOSED_HEADERS.encode())
    return [(b"access-control-allow-origin", origin), exposed, _VARY]


def _preflight(given: dict[bytes, bytes]) -> Response:
    """Allow every method, so that a page can read the 405 for a wrong one, and every requested header."""
    wanted = given.get(b"access-control-request-headers", b"")
    if not wanted or not _NAMES.fullmatch(wanted):
        wanted = REQUEST_HEADERS.encode()
    return Response(
        status_code=204,
        headers={
            "Access-Control-Allow-Origin": given[b"origin"].decode("latin-1"),
            "Access-Control-Allow-Methods": ", ".join(METHODS),
            "Access-Control-Allow-Headers": wanted.decode("latin-1"),
            "Access-Control-Max-Age": str(PREFLIGHT_SECONDS),
            "Vary": "Origin, Access-Control-Request-Headers",
        },
    )
