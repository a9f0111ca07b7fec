"""uvicorn's HTTP protocol with limits on what comes before a body, from which a response can take the connection over.

A stream that stays inside ASGI costs a task, its frames and its request for as long as it lives, and a coroutine for
each write. So the route only begins the response; then its request is over for uvicorn, and a stream writes. Only this
file depends on uvicorn's internals, which is why uvicorn is pinned.
"""

from __future__ import annotations

import socket
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httptools
from holdfast.gateway.errors import HeadTimeout, HeadTooLarge, RequestMalformed, problem
from holdfast.gateway.stream.connection import Connection
from holdfast.gateway.stream.deadline import Deadline
from holdfast.gateway.stream.transport import StreamTransport
from holdfast.shared.errors import HoldfastError
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.utils import get_local_addr, get_remote_addr
from uvicorn.server import ServerState

EXTENSION = "holdfast.connection"
UNANSWERED_MS = 30_000
UNSENT_BYTES = 16 * 1024
MAX_HEADER_FIELDS = 100
MAX_PIPELINED = 16
LINGER_SECONDS = 2.0
_NEW_LINE = b"\r\n"
_FRAMING = (b"content-length", b"transfer-encoding")
_CLOSE = (b"connection", b"close")

# Where the parser is: between two requests, in a head, in a body, in the head that `_ignore_upgrade` repeats, or done.
_IDLE, _HEAD, _BODY, _REPEATED, _REFUSED = range(5)


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What one connection may take before a request's body: bytes of a head, seconds from a head's first byte to its
    last, and seconds without a request."""

    max_head_bytes: int = 32 * 1024
    head_seconds: float = 10
    idle_seconds: float = 60


class HttpServer:
    """uvicorn's `http=`: accepts the connections of one server, and holds the deadlines that they share."""

    state: ServerState

    def __init__(self, limits: ConnectionLimits) -> None:
        self.max_head_bytes = limits.max_head_bytes
        self.stopping = False
        self.refusals: Counter[str] = Counter()  # by code, of requests that no app has seen
        self.idle: Deadline[StreamProtocol] = Deadline(limits.idle_seconds, _close)
        self.heads: Deadline[StreamProtocol] = Deadline(limits.head_seconds, _time_out)
        self.lingering: Deadline[Connection] = Deadline(LINGER_SECONDS, _abort)
        self._protocol: type[StreamProtocol] | None = None

    def __call__(self, config: Config, server_state: ServerState, app_state: dict[str, Any], **_: Any) -> Connection:
        if self._protocol is None:
            self.state = server_state
            self._protocol = _protocol_of(HttpToolsProtocol(config, server_state, app_state))
        return Connection(self)

    def opened(self, connection: Connection) -> None:
        self.state.connections.add(connection)  # type: ignore[arg-type]  # uvicorn calls its shutdown() alone
        self.serve_http(connection)

    def closed(self, connection: Connection) -> None:
        self.state.connections.discard(connection)

    def serve_http(self, connection: Connection) -> None:
        assert self._protocol is not None
        connection.handler = self._protocol(self, connection)


class StreamProtocol(HttpToolsProtocol):
    """Serves requests of one connection, puts itself into the scope's extensions, and hands the connection over."""

    cycle: RequestResponseCycle | None  # type: ignore[assignment]  # the newest request that has come

    def __init__(self, server: HttpServer, connection: Connection) -> None:  # see _protocol_of
        self.parser = httptools.HttpRequestParser(self)
        self.pipeline = deque()
        self._server = server
        self._connection = connection
        self._running: RequestResponseCycle | None = None  # the request at work
        self._state = _IDLE
        self._head_bytes = 0  # of the pieces since the last message, a piece in which that one ended not counted
        self._piece_bytes = 0
        self._mixed_bytes = 0  # of the piece that holds the end of a message and the beginning of this head
        self._upgrade = False
        self._refusal: HoldfastError | None = None
        self.transport = connection.transport
        self.flow = FlowControl(self.transport)
        self.server, self.client = get_local_addr(self.transport), get_remote_addr(self.transport)
        server.idle.start(self)

    @property
    def stopping(self) -> bool:
        """Whether the server stops."""
        return self._server.stopping

    @property
    def followed(self) -> bool:
        """Whether something has come behind the request at work."""
        return self.cycle is not self._running or self._state in (_HEAD, _REFUSED)

    async def hand_over(
        self, send: Send, fields: bytes, make: Callable[..., StreamTransport] = StreamTransport
    ) -> StreamTransport | None:
        """Begin the running response and take over its connection; the request may then return without completing it.

        Args:
            fields: header fields as they are sent, each ended by CRLF.
            make: constructs the transport, with the arguments of StreamTransport.

        Returns:
            The connection's transport, or None when the client has disconnected.
        """
        cycle = self._running
        if cycle is None:
            return None
        unread = cycle.more_body
        if unread:
            cycle.keep_alive = False
        cycle.transport = kept = _Head()  # type: ignore[assignment]
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        finally:
            cycle.transport = self.transport
        if cycle.disconnected or self.followed or self.transport.is_closing():
            cycle.disconnected = True
            self.transport.abort()
            return None
        stream = make(
            self._connection,
            kept.data.removesuffix(_NEW_LINE) + fields + _NEW_LINE,
            chunked=cycle.chunked_encoding is True,
            keep_alive=cycle.keep_alive,
            drain_input=unread,
        )
        if self.flow.write_paused:
            stream.pause_writing()
        self._connection.handler = stream
        cycle.disconnected = True  # so that nothing is missed when the request's task ends
        self.flow.resume_reading()
        self._forget()
        return stream

    def data_received(self, data: bytes) -> None:
        if self._state is _REFUSED:
            return
        self._piece_bytes = len(data)
        self._head_bytes += self._piece_bytes
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError as error:
            self._refuse(self._refusal or RequestMalformed(_reason(error)))
            return
        if self._state is _HEAD:
            self._server.heads.start(self)
            self._mixed_bytes = self._mixed_bytes or (0 if self._head_bytes else self._piece_bytes)
            if self._head_bytes > self._server.max_head_bytes or len(self.headers) > MAX_HEADER_FIELDS:
                self._refuse(self._head_too_large())
        elif self._state is _BODY and self._head_bytes > self._server.max_head_bytes:
            self._refuse(RequestMalformed("chunk extensions or trailer fields are too long"))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._running is not None:  # the one that uvicorn's own method would tell is the newest
            _disconnect(self._running)
        self.flow.resume_writing()
        self._forget()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._state = _HEAD if self._state is not _REPEATED else _REPEATED
        self.scope["extensions"] = {EXTENSION: {"connection": self}}
        self._server.idle.stop(self)

    def on_headers_complete(self) -> None:
        if self._state is _HEAD:  # and not in a head that is repeated
            self._server.heads.stop(self)
            self._check_head()
            self._head_bytes = self._mixed_bytes = 0
            self._upgrade = self.parser.should_upgrade()
            super().on_headers_complete()
        self._state = _BODY
        self.scope, self.headers = None, []  # type: ignore[assignment]  # trailer fields are no header fields

    def on_body(self, body: bytes) -> None:
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._upgrade:
            return
        self._state = _IDLE
        self._head_bytes = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._state is not _HEAD:
            self._server.idle.start(self)

    def time_out(self) -> None:
        """Refuse a head that is not complete in time."""
        self._refuse(HeadTimeout())

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Read on as if the request had not offered another protocol (RFC 9110, section 7.8).

        The parser skips the body of such a request and, where the request also closes the connection, accepts nothing
        more. So a new parser gets a head with the same framing, and then the rest of the piece."""
        assert self.cycle is not None
        self._upgrade = False
        self._state = _REPEATED
        self.parser = httptools.HttpRequestParser(self)
        fields = [field for field in self.cycle.scope["headers"] if field[0] in _FRAMING]
        if not self.cycle.keep_alive:
            fields.append(_CLOSE)
        self.data_received(b"POST / HTTP/1.1\r\n%b\r\n" % b"".join(b"%b: %b\r\n" % field for field in fields) + rest)

    def _check_head(self) -> None:
        """Raise what makes the parser stop when this head is refused, or when too many requests wait in line."""
        if self._head_size() > self._server.max_head_bytes or len(self.headers) > MAX_HEADER_FIELDS:
            self._refusal = self._head_too_large()
        elif not self._names_one_host():
            self._refusal = RequestMalformed("exactly one Host header field is required")
        elif len(self.pipeline) >= MAX_PIPELINED:
            self._refusal = RequestMalformed(f"at most {MAX_PIPELINED} requests may wait on one connection")
        if self._refusal is not None:
            raise _Stop

    def _names_one_host(self) -> bool:
        """Whether there is one Host field, or none where HTTP/1.0 allows that (RFC 9112, section 3.2)."""
        fields = dict(self.headers)
        if b"host" not in fields:
            return bool(self.parser.get_http_version() != "1.1")
        return len(fields) == len(self.headers) or [name for name, _ in self.headers].count(b"host") == 1

    def _head_size(self) -> int:
        """Return an upper bound of the bytes of the head if that is within the limit, else those of target and fields:
        its pieces may also hold parts of other messages."""
        size = max(self._mixed_bytes + self._head_bytes, self._piece_bytes)
        if size <= self._server.max_head_bytes:
            return size
        return len(self.url) + sum(len(name) + len(value) + 3 for name, value in self.headers)

    def _head_too_large(self) -> HeadTooLarge:
        limit = self._server.max_head_bytes
        return HeadTooLarge(f"At most {limit} bytes and {MAX_HEADER_FIELDS} header fields are allowed")

    def _refuse(self, error: HoldfastError) -> None:
        """Read nothing more, and close with an answer if that is possible.

        With no other request under way, or in the body of the request at work before its response begins, the answer is
        the error. Behind requests that are complete, the connection closes with the answer to the newest of them. In
        any other body it closes at once."""
        in_body, self._state = self._state is _BODY, _REFUSED
        self._refusal = None
        self._server.heads.stop(self)
        self._server.idle.stop(self)
        newest = self.cycle
        if self.transport.is_closing():
            return
        self._server.refusals[error.code] += 1
        if not in_body:
            if newest is None or newest.response_complete:
                self._answer(error)
            else:
                newest.keep_alive = False
        elif newest is not None and newest is self._running and not newest.response_started:
            _disconnect(newest)
            self._answer(error)
        else:
            self.transport.close()

    def _answer(self, error: HoldfastError) -> None:
        """Write an answer without ASGI, and close."""
        response = problem(error)
        fields = (*self.server_state.default_headers, *response.raw_headers, _CLOSE)
        head = b"".join(b"%b: %b\r\n" % field for field in fields)
        self.transport.write(STATUS_LINE[response.status_code] + head + _NEW_LINE + bytes(response.body))
        self._forget()
        self._connection.linger()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        version = cycle.scope["http_version"]
        if version == "1.0":
            app = _CloseDelimited(app, cycle)
        elif version != "1.1":
            app = problem(RequestMalformed("HTTP/1.1 and HTTP/1.0 are spoken here"))
            self._server.refusals[RequestMalformed.code] += 1
            cycle.keep_alive = False
        super()._start_asgi_task(cycle, app)

    def _should_upgrade(self) -> bool:
        return False

    def _forget(self) -> None:
        """Break the reference cycles, so that the connection is freed at once and not by the garbage collector."""
        self._server.idle.stop(self)
        self._server.heads.stop(self)
        self.parser = self.scope = self.headers = self.cycle = self._running = None  # type: ignore[assignment]
        self.pipeline.clear()


def _protocol_of(template: HttpToolsProtocol) -> type[StreamProtocol]:
    """Make the class of a server's protocols. What uvicorn's constructor sets alike in all of them stands in the class:
    to repeat that for each connection costs 5 µs, most of it for finding the loggers."""
    alike = {name: value for name, value in vars(template).items() if name not in ("parser", "pipeline")}
    return type(StreamProtocol.__name__, (StreamProtocol,), alike | {"scheme": "http"})


class _Head:
    """Takes a response's head in place of the transport, for one write with what follows it."""

    data = b""

    def write(self, data: bytes) -> None:
        self.data = data


class _CloseDelimited:
    """An app for an HTTP/1.0 client, which does not know chunks: the end of the connection ends the body (RFC 9112,
    section 6.3)."""

    def __init__(self, app: ASGIApp, cycle: RequestResponseCycle) -> None:
        self._app = app
        self._cycle = cycle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, self._send)

    async def _send(self, message: Message) -> None:
        self._cycle.chunked_encoding = False
        self._cycle.expected_content_length = len(message.get("body", b""))
        await self._cycle.send(message)  # type: ignore[arg-type]


class _Stop(Exception):
    """Raised in a callback to make the parser stop."""


def _disconnect(cycle: RequestResponseCycle) -> None:
    """Make the request's app see a client that has left."""
    cycle.disconnected = True
    cycle.message_event.set()


def _reason(error: httptools.HttpParserError) -> str:
    return "the request target cannot be read" if isinstance(error, httptools.HttpParserCallbackError) else str(error)


def _time_out(protocol: StreamProtocol) -> None:
    protocol.time_out()


def _close(protocol: StreamProtocol) -> None:
    protocol.transport.close()


def _abort(connection: Connection) -> None:
    connection.transport.abort()


def set_socket_options(listener: socket.socket) -> None:
    """Let the kernel drop a connection whose other end acknowledges nothing (a pulled cable sends no FIN), and keep
    little that is not on its way: otherwise megabytes, of which it says that they move only once a third is gone. What
    a listening socket is told holds for each connection that it accepts."""
    if listener.family == socket.AF_UNIX:
        return
    for name, value in (("TCP_USER_TIMEOUT", UNANSWERED_MS), ("TCP_NOTSENT_LOWAT", UNSENT_BYTES)):
        option = getattr(socket, name, None)  # not every system has both
        if option is not None:
            listener.setsockopt(socket.IPPROTO_TCP, option, value)
