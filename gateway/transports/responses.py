"""What differs from uvicorn in the way that a response is written."""

from __future__ import annotations

from collections.abc import Iterable

from holdfast.gateway.errors import problem
from holdfast.gateway.request_ids import HEADER, RequestIds
from holdfast.shared.errors import HoldfastError
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

CLOSE = (b"connection", b"close")


class _Captured:
    """Captures what is written in place of the transport."""

    data = b""

    def write(self, data: bytes) -> None:
        self.data = data


async def captured_head(cycle: RequestResponseCycle, send: Send, status: int) -> bytes:
    """Begin a response, and return its head up to the last field, to be sent in one write with the first bytes."""
    transport, captured = cycle.transport, _Captured()
    cycle.transport = captured  # type: ignore[assignment]
    try:
        await send({"type": "http.response.start", "status": status, "headers": []})
    finally:
        cycle.transport = transport
    return captured.data.removesuffix(b"\r\n")


def last_response(response: Response, default_fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return a response as it is sent without ASGI on a connection that closes."""
    fields = b"".join(b"%b: %b\r\n" % field for field in (*default_fields, *response.raw_headers, CLOSE))
    return STATUS_LINE[response.status_code] + fields + b"\r\n" + bytes(response.body)


def refusal(error: HoldfastError, request_ids: RequestIds) -> Response:
    """Return the response to a request that does not reach the app, with a new id."""
    response = problem(error)
    response.headers[HEADER.decode()] = request_ids.new()
    return response


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
