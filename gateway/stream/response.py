"""An event stream as an ASGI response. Its request's task only waits for the disconnect; the hub does the writing."""

from __future__ import annotations

import asyncio

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.errors import problem
from gateway.stream.framing import NDJSON, SSE, Format
from gateway.stream.hub import StreamHub, retry_ms
from gateway.stream.outlet import Outlet
from gateway.stream.protocol import EXTENSION, Connection
from gateway.stream.viewer import Wish
from shared.errors import LogUnavailable
from shared.ids import ORIGIN, EventId
from shared.sessions import JobState


class EventStream(Response):
    """The events of a session, or of one `job`, from the cursor on.

    204 when the job has ended and the cursor is at its end; a refusal when the process is full or stopping."""

    def __init__(
        self,
        hub: StreamHub,
        session_id: str,
        *,
        cursor: EventId | None = None,
        from_now: bool = False,
        raw: bool = False,
        format: Format = SSE,
        job: JobState | None = None,
    ) -> None:
        super().__init__(headers=_headers(format), media_type=None)
        del self.headers["content-length"]
        self.hub = hub
        self.wish = Wish(session_id, format, cursor, from_now, raw, job)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if _nothing_to_come(self.wish):
            await Response(status_code=204)(scope, receive, send)
        elif self.hub.full:
            self.hub.counters.refused += 1
            await refusal(self.wish.form)(scope, receive, send)
        else:
            await self._stream(scope, receive, send)

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        connection = _connection(scope)
        connection.on_shutdown = self.hub.end_all
        viewer = self.hub.attach(self.wish, Outlet(send, connection.abort))
        try:
            while (await receive())["type"] != "http.disconnect":
                pass
        finally:
            connection.on_shutdown = None
            self.hub.detach(viewer)


def refusal(form: Format) -> Response:
    """Come again later. A browser gives up on anything but 200, so it gets that, a `retry:`, and the end."""
    if form is NDJSON:
        return problem(LogUnavailable())
    headers = {**_headers(form), "Connection": "close"}
    return Response(form.farewell(retry_ms()), headers=headers, media_type=None)


def _headers(form: Format) -> dict[str, str]:
    return {
        "Content-Type": form.media_type,
        "Cache-Control": "no-cache, no-transform",
        "X-Accel-Buffering": "no",
    }


def _nothing_to_come(wish: Wish) -> bool:
    if wish.job is None or wish.job.end is None:
        return False
    return wish.from_now or (wish.cursor or ORIGIN) >= wish.job.end


def _connection(scope: Scope) -> Connection:
    """The connection that StreamProtocol offers. Under another server, aborting can only stop the request."""
    offered = scope.get("extensions", {}).get(EXTENSION)
    if offered is not None:
        connection: Connection = offered["connection"]
        return connection
    request = asyncio.current_task()
    return Connection(lambda: None if request is None else _cancel(request))


def _cancel(request: asyncio.Task[None]) -> None:
    request.cancel()
