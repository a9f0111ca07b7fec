"""An event stream as an ASGI response, which begins it and then hands the connection over to the hub."""

from __future__ import annotations

from functools import lru_cache

from holdfast.gateway.coding import Coding
from holdfast.gateway.errors import RequestBehindStream, respond
from holdfast.gateway.stream.hub import StreamHub
from holdfast.gateway.stream.viewer import StreamRequest, retry_ms
from holdfast.gateway.transports.http import coding_field, transport_for
from holdfast.gateway.transports.transport import Transport
from holdfast.gateway.transports.uvicorn import EXTENSION, StreamProtocol
from holdfast.shared.ids import ORIGIN
from holdfast.shared.log.event_log import Page
from starlette.responses import Response
from starlette.types import Receive, Scope, Send


class EventStream:
    """The ASGI response to a stream request.

    204 when the job has ended and the cursor is at its end; a refusal when the process stops or a limit of viewers
    is reached; else a stream. Works only under StreamProtocol, as `holdfast.gateway.__main__` serves it.

    Args:
        first: the page after the viewer's cursor, if it has been read already.
        coding: the content coding of the body.
    """

    def __init__(
        self, hub: StreamHub, request: StreamRequest, first: Page | None = None, coding: Coding | None = None
    ) -> None:
        self.hub = hub
        self.request = request
        self.first = first
        self.coding = coding

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if _nothing_to_come(self.request):
            await Response(status_code=204)(scope, receive, send)
        elif not self.hub.admits(self.request.session_id, self.request.address):
            self.hub.counters.refused += 1
            await self.request.dialect.refusal(retry_ms())(scope, receive, send)
        else:
            await self._stream(scope, receive, send)

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        protocol: StreamProtocol = scope["extensions"][EXTENSION]["connection"]
        if protocol.followed:
            await _not_the_last(scope, receive, send)
            return
        transport = await self._hand_over(protocol, send)
        if transport is not None:
            self.hub.attach(self.request, transport, self.first)
            if protocol.stopping:
                self.hub.end_all()

    async def _hand_over(self, protocol: StreamProtocol, send: Send) -> Transport | None:
        """Begin the response and return its transport; None when the client has disconnected."""
        fields = _fields(tuple(self.request.dialect.headers.items())) + coding_field(self.coding)
        return await protocol.hand_over(send, fields, transport_for(self.coding))


async def _not_the_last(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse a stream with a pipelined request after it, which would wait unread for as long as the stream lasts."""
    response = respond(scope, RequestBehindStream())
    response.headers["Connection"] = "close"
    await response(scope, receive, send)


@lru_cache(maxsize=64)  # encoded once instead of for each viewer
def _fields(headers: tuple[tuple[str, str], ...]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in headers).encode()


def _nothing_to_come(request: StreamRequest) -> bool:
    if request.job is None or request.job.end is None:
        return False
    return request.from_now or (request.cursor or ORIGIN) >= request.job.end
