"""The temporary refusal of a client that resumes: it gives up on any status but 200, and after a clean end."""

from __future__ import annotations

import asyncio

from holdfast.gateway.dialects.dialect import stream_headers
from holdfast.gateway.dialects.translation import Translation
from holdfast.gateway.transports.uvicorn import EXTENSION, StreamProtocol
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

HEADERS = stream_headers(Translation.media_type)
PAUSE_S = 1.0


class PauseAndCut(Response):
    """A stream without events that is cut after PAUSE_S. TanStack AI allows 5 of these in a row."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection: StreamProtocol = scope["extensions"][EXTENSION]["connection"]
        fields = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": b": try again\n\n", "more_body": True})
        if not connection.stopping:
            await asyncio.sleep(PAUSE_S)
        connection.transport.abort()
        while (await receive())["type"] != "http.disconnect":
            pass
