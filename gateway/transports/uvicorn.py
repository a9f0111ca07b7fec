"""uvicorn's HTTP protocol, with limits on request heads, whose connections event streams can take over.

A stream inside ASGI would keep a task, its stack frames and its request alive, and need a coroutine call per write. So
the route only begins the response. Then uvicorn's request ends, and a HttpTransport writes directly to the socket.
Only this file and uvicorn_server.py depend on uvicorn's internals, which is why uvicorn is pinned.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, TypeVar

import httptools
from holdfast.gateway.errors import HeadTimeout, RequestMalformed
from holdfast.gateway.request_ids import RequestIds
from holdfast.gateway.transports.connection import Connection, Timed, time_out
from holdfast.gateway.transports.deadline import Deadline
from holdfast.gateway.transports.request_head import ConnectionLimits, RequestHead
from holdfast.gateway.transports.responses import CLOSE, CloseDelimited, captured_head, last_response, refusal
from holdfast.gateway.transports.transport import Stream
from holdfast.gateway.transports.websocket_handshake import offers_websocket
from holdfast.shared.errors import HoldfastError
from starlette.types import Send
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.utils import get_local_addr, get_remote_addr
from uvicorn.server import ServerState

Made = TypeVar("Made", bound=Stream)

EXTENSION = "holdfast.connection"
MAX_PIPELINED = 16
LINGER_SECONDS = 2.0
MESSAGE_SECONDS = 30.0
_NEW_LINE = b"\r\n"
_FRAMING = (b"content-length", b"transfer-encoding")

# State of the parser: between requests, in a head, in a body, in the head that `_on_upgrade` repeats, holding back
# what follows the offer of a WebSocket until that is answered, or stopped.
_IDLE, _HEAD, _BODY, _REPEATED, _HELD, _REFUSED = range(6)


class HttpServer:
    """The factory for uvicorn's `http=`: creates the connections of one server and holds their shared deadlines."""

    state: ServerState
    tasks: set[asyncio.Task[None]]

    def __init__(self, limits: ConnectionLimits) -> None:
        self.max_head_bytes = limits.max_head_bytes
        self.stopping = False
        self.refusals: Counter[str] = Counter()  # by error code, of requests refused before the app
        self.idle: Deadline[StreamProtocol] = Deadline(limits.idle_seconds, lambda idle: idle.transport.close())
        self.heads: Deadline[Timed] = Deadline(limits.head_seconds, time_out)
        self.message_deadline: Deadline[Timed] = Deadline(MESSAGE_SECONDS, time_out)
        self.lingering: Deadline[Connection] = Deadline(LINGER_SECONDS, lambda one: one.transport.abort())
        self._protocol: type[StreamProtocol] | None = None
        self.request_ids = RequestIds()

    def __call__(self, config: Config, server_state: ServerState, app_state: dict[str, Any], **_: Any) -> Connection:
        if self._protocol is None:
            self.state, self.tasks = server_state, server_state.tasks
            self._protocol = _protocol_of(HttpToolsProtocol(config, server_state, app_state))
        return Connection(self)

    def opened(self, connection: Connection) -> None:
        self.state.connections.add(connection)  # type: ignore[arg-type]  # uvicorn only calls its shutdown()
        self.serve_http(connection)

    def closed(self, connection: Connection) -> None:
        self.state.connections.discard(connection)

    def serve_http(self, connection: Connection) -> None:
        assert self._protocol is not None
        connection.handler = self._protocol(self, connection)


class StreamProtocol(HttpToolsProtocol):
    """Serves the requests of one connection. Routes find it in the scope's extensions and call `hand_over`."""

    cycle: RequestResponseCycle | None  # type: ignore[assignment]  # the newest request received
    on_shutdown: Callable[[], None] | None = None  # of a request that waits, called when the server stops

    def __init__(self, server: HttpServer, connection: Connection) -> None:  # see _protocol_of
        self.parser = httptools.HttpRequestParser(self)
        self.pipeline = deque()
        self._server = server
        self._connection = connection
        self._running: RequestResponseCycle | None = None  # the request whose response is running
        self._state = _IDLE
        self._head = RequestHead(server.max_head_bytes)
        self._upgrade = False
        self._held = b""
        self._refusal: HoldfastError | None = None
        self.transport = connection.transport
        self.flow = FlowControl(self.transport)
        self.server, self.client = get_local_addr(self.transport), get_remote_addr(self.transport)
        server.idle.start(self)

    @property
    def stopping(self) -> bool:
        """Whether the server is stopping."""
        return self._server.stopping

    @property
    def followed(self) -> bool:
        """Whether another request, or the start of one, was received after the running one."""
        return self.cycle is not self._running or self._state in (_HEAD, _REFUSED)

    @property
    def offers_websocket(self) -> bool:
        """Whether the running request offers to continue as a WebSocket."""
        return self._state is _HELD

    async def hand_over(self, send: Send, fields: bytes, make: Callable[..., Made], status: int = 200) -> Made | None:
        """Begin the running response and take over its connection; the request may then return without completing it.

        Args:
            fields: header fields as they are sent, each ended by CRLF.
            make: constructs the transport, with the arguments of HttpTransport.
            status: 101 to continue as a WebSocket, which the request must offer. What the client has sent already is
                passed to its transport in a later callback, and nothing is read before.

        Returns:
            The connection's transport, or None when the client has disconnected.
        """
        cycle, held = self._running, b""
        if cycle is None:
            return None
        unread = cycle.more_body
        if status == 101:
            cycle.chunked_encoding, cycle.keep_alive = False, True
        elif unread:
            cycle.keep_alive = False
        head = await captured_head(cycle, send, status)
        if status == 101:
            held, self._held = self._held, held
        if cycle.disconnected or self.followed or self._held or self.transport.is_closing():
            cycle.disconnected = True
            self.transport.abort()
            return None
        stream = make(
            self._connection,
            head + fields + _NEW_LINE,
            chunked=cycle.chunked_encoding is True,
            keep_alive=cycle.keep_alive,
            drain_input=unread,
        )
        if self.flow.write_paused:
            stream.pause_writing()
        self._connection.handler = stream
        cycle.disconnected = True  # uvicorn must not report an incomplete response when the task ends
        if held:
            asyncio.get_running_loop().call_soon(_continue, self.flow, stream, held)
        else:
            self.flow.resume_reading()
        self._forget()
        return stream

    def shutdown(self) -> None:
        super().shutdown()
        if self.on_shutdown is not None:
            self.on_shutdown()

    def data_received(self, data: bytes) -> None:
        if self._state in (_HELD, _REFUSED):
            self._hold(data)
            return
        self._head.add_piece(len(data))
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._on_upgrade(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError as error:
            self._refuse(self._refusal or RequestMalformed(_reason(error)))
            return
        if self._state is _HEAD:
            self._server.heads.start(self)
            self._head.continue_with_next_piece()
            if self._head.is_too_large(self.headers):
                self._refuse(self._head.too_large())
        elif self._state is _BODY and self._head.is_too_large():
            self._refuse(RequestMalformed("chunk extensions or trailer fields are too long"))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._running is not None:  # uvicorn's own method would only disconnect the newest one
            _disconnect(self._running)
        self.flow.resume_writing()
        self._forget()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._state = _HEAD if self._state is not _REPEATED else _REPEATED
        self.scope["extensions"] = {EXTENSION: {"connection": self}}
        self._server.idle.stop(self)

    def on_headers_complete(self) -> None:
        if self._state is _HEAD:  # not in a repeated head
            self._server.heads.stop(self)
            self._check_head()
            self._head.end()
            self._upgrade = self.parser.should_upgrade()
            super().on_headers_complete()
        self._state = _BODY
        self.scope, self.headers = None, []  # type: ignore[assignment]  # trailer fields must not count as header fields

    def on_body(self, body: bytes) -> None:
        self._head.end_message()
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._upgrade:
            return
        self._state = _IDLE
        self._head.end_message()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self._state is _HELD:  # the offer was not accepted
            self._state, held, self._held = _IDLE, self._held, b""
            self.parser = httptools.HttpRequestParser(self)
            self._server.idle.start(self)
            self.data_received(held)
        elif self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._state is not _HEAD:
            self._server.idle.start(self)

    def time_out(self) -> None:
        """Refuse a request head that is incomplete at its deadline."""
        self._refuse(HeadTimeout())

    def _hold(self, data: bytes) -> None:
        """Hold back what follows the offer of a WebSocket. Little of it is read before the offer is answered."""
        if self._state is _HELD and data:
            self._held += data
            self.flow.pause_reading()

    def _on_upgrade(self, rest: bytes) -> None:
        """Hold the rest back if the route may accept a WebSocket. Otherwise continue as if the request had not offered
        to upgrade (RFC 9110, section 7.8).

        The parser skips the body of such a request and, if the request also closes the connection, accepts nothing
        more. So a new parser gets a head with the same framing, and then the rest of the received piece."""
        assert self.cycle is not None
        self._upgrade = False
        scope = self.cycle.scope
        if self.cycle is self._running and offers_websocket(scope):  # type: ignore[arg-type]
            self.on_message_complete()
            self._state = _HELD
            self._hold(rest)
            return
        self._state = _REPEATED
        self.parser = httptools.HttpRequestParser(self)
        fields = [field for field in scope["headers"] if field[0] in _FRAMING]
        if not self.cycle.keep_alive:
            fields.append(CLOSE)
        self.data_received(b"POST / HTTP/1.1\r\n%b\r\n" % b"".join(b"%b: %b\r\n" % field for field in fields) + rest)

    def _check_head(self) -> None:
        """Stop the parser, by raising _Stop, if this head is refused or too many pipelined requests wait."""
        self._refusal = self._head.refusal(self.url, self.headers, self.parser.get_http_version())
        if self._refusal is None and len(self.pipeline) >= MAX_PIPELINED:
            self._refusal = RequestMalformed(f"at most {MAX_PIPELINED} pipelined requests are allowed on a connection")
        if self._refusal is not None:
            raise _Stop

    def _refuse(self, error: HoldfastError) -> None:
        """Stop reading, and close the connection with an error response where one can still be sent.

        The error is sent if no other response is pending, or in the body of the running request before its response has
        begun. After complete requests the connection closes with the response to the newest one. In any other body it
        closes at once."""
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
        """Write an error response without ASGI, and close."""
        response = refusal(error, self._server.request_ids)
        self.transport.write(last_response(response, self.server_state.default_headers))
        self._forget()
        self._connection.linger()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        version = cycle.scope["http_version"]
        if version == "1.0":
            app = CloseDelimited(app, cycle)
        elif version != "1.1":
            app = refusal(RequestMalformed("only HTTP/1.1 and HTTP/1.0 are supported"), self._server.request_ids)
            self._server.refusals[RequestMalformed.code] += 1
            cycle.keep_alive = False
        super()._start_asgi_task(cycle, app)

    def _forget(self) -> None:
        """Break reference cycles, so that the connection is freed without the garbage collector."""
        self._server.idle.stop(self)
        self._server.heads.stop(self)
        self.parser = self.scope = self.headers = self.cycle = self._running = None  # type: ignore[assignment]
        self.pipeline.clear()


def _protocol_of(template: HttpToolsProtocol) -> type[StreamProtocol]:
    """Make the protocol class of a server, with the attributes that uvicorn's constructor sets alike on all instances.

    Setting them per connection costs 5 µs, most of it for looking up loggers."""
    common = {name: value for name, value in vars(template).items() if name not in ("parser", "pipeline")}
    return type(StreamProtocol.__name__, (StreamProtocol,), common | {"scheme": "http"})


class _Stop(Exception):
    """Raised in a parser callback to stop the parser."""


def _continue(flow: FlowControl, stream: Stream, held: bytes) -> None:
    """Pass held bytes to a stream. Reading resumes here: uvloop reads a socket before it runs callbacks that wait."""
    flow.resume_reading()
    stream.data_received(held)


def _disconnect(cycle: RequestResponseCycle) -> None:
    """Make the request's app see a disconnect."""
    cycle.disconnected = True
    cycle.message_event.set()


def _reason(error: httptools.HttpParserError) -> str:
    return "the request target cannot be read" if isinstance(error, httptools.HttpParserCallbackError) else str(error)
