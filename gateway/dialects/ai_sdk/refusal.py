"""The temporary refusal of a client that reconnects at once after a clean end, and gives up on any status but 200."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

from starlette.responses import Response, StreamingResponse


def pause_and_end(headers: Mapping[str, str], retry_ms: int) -> Response:
    """Return an empty stream that ends after `retry_ms`: the client reconnects without a delay."""

    async def body() -> AsyncIterator[bytes]:
        yield b": try again\n\n"
        await asyncio.sleep(retry_ms / 1000)

    return StreamingResponse(body(), headers={**headers, "Connection": "close"})
