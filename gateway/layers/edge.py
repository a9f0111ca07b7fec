"""The outermost layer: what every request and every response has."""

from __future__ import annotations

import time

from holdfast.gateway.metrics import Metrics
from holdfast.gateway.request_ids import HEADER, RequestIds
from holdfast.shared.telemetry import REQUEST_ID
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Edge:
    """ASGI layer: give each request an id, and count its response.

    The id is that of the header X-Request-Id, if it is 1 to 64 letters, digits, `.`, `_` or `-`; otherwise a new one.
    It is in the response, and in the log lines of the request. The server adds the other fields that all responses have
    (`gateway.__main__`): it also refuses requests that reach no layer."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics
        self._ids = RequestIds()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        request_id = self._ids.of(scope["headers"])
        REQUEST_ID.set(request_id)

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.metrics.count(scope, message["status"], time.perf_counter() - began)
                message["headers"] = [*message.get("headers", ()), (HEADER, request_id.encode())]
            await send(message)

        await self.app(scope, receive, counted)
