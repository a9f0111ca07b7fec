"""The temporary refusal of a client that resumes: it gives up on any status but 200, and after a clean end."""

from __future__ import annotations

import asyncio
import random

from holdfast.gateway.dialects.dialect import stream_headers
from holdfast.gateway.dialects.translation import Translation
from holdfast.gateway.transports.uvicorn import EXTENSION, StreamProtocol
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

HEADERS = stream_headers(Translation.media_type)
PAUSE_S = (3.0, 6.0)
PINGS = 8
_LONGEST_PAUSE_S = 30.0


def refuse_resume(scope: Scope, retry_ms: int) -> Response | None:
    """Refuse what TanStack AI resumes: a request with a cursor. Other clients do not reconnect by themselves."""
    resumes = b"last-event-id" in scope["fields"] or b"last_event_id=" in scope["query_string"]
    return PauseAndCut(retry_ms / 1000) if resumes else None


class PauseAndCut(Response):
    """A stream without events that is cut after a random pause, so that clients do not return in step. TanStack AI
    allows 5 of these in a row.

    Args:
        at_least_s: the shortest pause."""

    def __init__(self, at_least_s: float = 0) -> None:
        super().__init__()
        self._at_least_s = min(at_least_s, _LONGEST_PAUSE_S)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection: StreamProtocol = scope["extensions"][EXTENSION]["connection"]
        fields = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        pause_s = max(random.uniform(*PAUSE_S), self._at_least_s)  # noqa: S311 - jitter, not a secret
        for _ in range(PINGS):
            await send({"type": "http.response.body", "body": b": try again\n\n", "more_body": True})
            if connection.stopping:
                break
            await asyncio.sleep(pause_s / PINGS)
        connection.transport.abort()
        while (await receive())["type"] != "http.disconnect":
            pass
