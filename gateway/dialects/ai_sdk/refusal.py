"""The temporary refusal of a client that reconnects at once after a clean end, and gives up on any status but 200."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

from holdfast.gateway.dialects.ai_sdk.translation import HEADERS
from starlette.responses import Response, StreamingResponse
from starlette.types import Scope

_LONGEST_PAUSE_MS = 30_000


def refuse_resume(scope: Scope, retry_ms: int) -> Response | None:
    """Refuse what WorkflowChatTransport resumes. `useChat` with another transport shows an error: it does not reconnect
    by itself, and an empty answer would look like a complete one."""
    if scope["method"] == "GET" and scope["path"].startswith("/ai-sdk/workflow/"):
        return pause_and_end(HEADERS, min(retry_ms, _LONGEST_PAUSE_MS))
    return None


def pause_and_end(headers: Mapping[str, str], retry_ms: int) -> Response:
    """Return an empty stream that ends after `retry_ms`: the client reconnects without a delay."""

    async def body() -> AsyncIterator[bytes]:
        yield b": try again\n\n"
        await asyncio.sleep(retry_ms / 1000)

    return StreamingResponse(body(), headers={**headers, "Connection": "close"})
