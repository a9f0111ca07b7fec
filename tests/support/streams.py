"""Event streams alone, on a real port: a hub with limits of the test's own behind two plain routes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import uvicorn
from holdfast.gateway.dialects.registry import choose
from holdfast.gateway.stream.catch_up import CatchUp
from holdfast.gateway.stream.hub import StreamHub, StreamLimits
from holdfast.gateway.stream.response import EventStream
from holdfast.gateway.stream.tailer import Tailer
from holdfast.gateway.stream.viewer import StreamRequest
from holdfast.gateway.transports.request_head import ConnectionLimits
from holdfast.gateway.transports.uvicorn import HttpServer
from holdfast.gateway.transports.uvicorn_server import GatewayServer
from holdfast.shared.ids import parse_cursor
from holdfast.shared.log.event_log import EventLog
from holdfast.shared.redis.log_connections import LogConnections, connect_logs
from holdfast.shared.sessions import Sessions
from holdfast.shared.settings import CommonSettings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.support.process import until
from tests.support.sse import Frame, SseStream

Wanted = Callable[[Frame], bool]


@dataclass(frozen=True)
class Streams:
    """Serves `/<session>` and `/<session>/<job>`. `server` stops at the end of the block or before."""

    hub: StreamHub
    http: HttpServer
    server: uvicorn.Server
    serving: asyncio.Task[None]
    port: int

    def url(self, session_id: str = "s", job_id: str = "", **query: str) -> str:
        path = "/".join(part for part in (session_id, job_id) if part)
        return f"http://127.0.0.1:{self.port}/{path}?" + "&".join(f"{name}={value}" for name, value in query.items())

    @property
    def tailer(self) -> Tailer:
        (tailer,) = self.hub.tailers.values()
        assert isinstance(tailer, Tailer)
        return tailer

    @property
    def catch_up(self) -> CatchUp:
        return self.hub._catch_up

    def open(self, session_id: str = "s", job_id: str = "", cursor: str | None = None, **query: str) -> SseStream:
        return SseStream(self.url(session_id, job_id, **query), last_event_id=cursor)


@contextlib.asynccontextmanager
async def streams(logs: str | LogConnections, limits: StreamLimits | None = None) -> AsyncIterator[Streams]:
    """Serve streams of these log servers, or of the one at this address, until the block ends."""
    if isinstance(logs, str):
        logs = connect_logs(logs, max_connections=16, deadline_s=2)
    sessions = Sessions(logs, CommonSettings())
    hub = StreamHub(logs, EventLog(logs), sessions, limits)

    async def answer(request: Request) -> EventStream:
        session_id, job_id = request.path_params["session_id"], request.path_params.get("job_id")
        given = request.headers.get("last-event-id")
        stream_request = StreamRequest(
            session_id,
            choose(request.headers.get("accept", "")),
            cursor=parse_cursor(given) if given else None,
            from_now=request.query_params.get("from") == "now",
            raw=request.query_params.get("raw") == "true",
            job=None if job_id is None else await sessions.job(session_id, job_id),
        )
        return EventStream(hub, stream_request)

    async def echo(request: Request) -> Response:
        return Response(await request.body())

    app = Starlette(
        routes=[
            Route("/echo", echo, methods=["POST"]),
            Route("/{session_id}", answer),
            Route("/{session_id}/{job_id}", answer),
        ]
    )
    http = HttpServer(ConnectionLimits())
    config = uvicorn.Config(
        app,
        port=0,
        http=http,  # type: ignore[arg-type]
        log_config=None,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=10,
    )
    server = GatewayServer(config)
    hub.start()
    serving = asyncio.create_task(server._serve())
    await until(lambda: server.started or serving.done())
    try:
        yield Streams(hub, http, server, serving, server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        await serving
        await hub.close()
        await logs.aclose()


async def ids_until(stream: SseStream, last: str) -> list[str]:
    """The ids of the events up to that one."""
    return [frame.id for frame in await frames_until(stream, lambda frame: frame.id == last)]


async def frames_until(stream: SseStream, wanted: Wanted) -> list[Frame]:
    """The frames up to the first that is wanted."""
    frames: list[Frame] = []
    async for frame in stream:
        frames.append(frame)
        if wanted(frame):
            return frames
    raise AssertionError(f"the stream ended before that; it had {frames[-3:]}")


class Deaf:
    """A client that asks for a stream and reads nothing until it is told to, with the smallest of receive buffers."""

    def __init__(self, url: str) -> None:
        host, _, path = url.removeprefix("http://").partition("/")
        name, _, port = host.partition(":")
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.connect((name, int(port)))
        self._socket.sendall(f"GET /{path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        self._socket.setblocking(False)

    async def read(self, most: int = 65536) -> bytes:
        """What comes next; b"" when the server has ended or dropped the connection."""
        try:
            async with asyncio.timeout(30):
                return await asyncio.get_running_loop().sock_recv(self._socket, most)
        except ConnectionResetError:
            return b""

    async def read_all(self) -> bytes:
        received = bytearray()
        while chunk := await self.read():
            received += chunk
        return bytes(received)

    def close(self) -> None:
        self._socket.close()
