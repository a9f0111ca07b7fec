"""What a connection may take before a request's body, and what else HTTP asks of a server. Raw bytes on real ports."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator

import orjson
import pytest
import uvicorn
from holdfast.gateway.transports.request_head import MAX_HEADER_FIELDS, ConnectionLimits
from holdfast.gateway.transports.uvicorn import MAX_PIPELINED, HttpServer
from holdfast.gateway.transports.uvicorn_server import GatewayServer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.support.process import Processes, until
from tests.support.served import Served, raw_request, served

HEAD = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"
GET = HEAD + b"\r\n"
LAST = HEAD + b"Connection: close\r\n\r\n"
POST = b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
JOB = orjson.dumps({"agent": "scripted", "input": "tea"})
FRAMED = {
    "length": (f"Content-Length: {len(JOB)}", JOB),
    "chunks": ("Transfer-Encoding: chunked", b"%x\r\n%b\r\n0\r\n\r\n" % (len(JOB), JOB)),
}


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    async with served(redis_url) as gateway:
        await gateway.offer("scripted")
        yield gateway


async def closed(reader: asyncio.StreamReader) -> bytes:
    """What still comes until the server closes."""
    return await asyncio.wait_for(reader.read(-1), 30)


def code(answer: bytes) -> str:
    """The code of the problem that an answer ends with."""
    return str(orjson.loads(answer.rpartition(b"\r\n\r\n")[2])["code"])


class TestHead:
    async def test_one_that_is_too_large_is_refused(self, gateway: Served) -> None:
        answer = await raw_request(gateway.port, HEAD + b"X: " + b"x" * 40_000 + b"\r\n\r\n")
        assert answer.status == 431
        assert orjson.loads(answer.body)["code"] == "head_too_large"
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["connection"] == "close"

    @pytest.mark.parametrize("part", [HEAD + b"X: " + b"x" * 40_000, b"GET /" + b"x" * 40_000])
    async def test_one_that_is_too_large_is_refused_before_it_ends(self, gateway: Served, part: bytes) -> None:
        assert (await raw_request(gateway.port, part)).status == 431

    async def test_one_of_almost_the_limit_is_taken(self, gateway: Served) -> None:
        answer = await raw_request(gateway.port, HEAD + b"Connection: close\r\nX: " + b"x" * 32_600 + b"\r\n\r\n")
        assert answer.status == 200

    @pytest.mark.parametrize("end", [b"\r\n", b""])
    @pytest.mark.parametrize("fields", [MAX_HEADER_FIELDS + 1, 1000])
    async def test_one_of_too_many_fields_is_refused(self, gateway: Served, fields: int, end: bytes) -> None:
        assert (await raw_request(gateway.port, HEAD + b"a:b\r\n" * fields + end)).status == 431

    async def test_one_whose_body_comes_along_may_be_followed_by_another(self, gateway: Served) -> None:
        """The bytes of a body are none of the next head."""
        body = b"x" * 100_000
        post = b"POST /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(post + HEAD[:10])
        await reader.readuntil(b"\r\n\r\n")
        writer.write(LAST[10:])
        assert b"HTTP/1.1 200" in await closed(reader)
        writer.close()

    @pytest.mark.parametrize("end", [b"\r\n\r\n", b"x" * 40_000])
    async def test_one_that_is_too_large_is_refused_though_it_begins_behind_another_request(
        self, gateway: Served, end: bytes
    ) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(GET + HEAD + b"X: " + b"x" * 60_000)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(end)
        assert b"HTTP/1.1 431" in await closed(reader)
        writer.close()

    async def test_one_of_a_hundred_megabytes_costs_no_more_than_a_small_one(self, gateway: Served) -> None:
        """The client gets its answer, and what it sends behind that is not looked at."""
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(HEAD + b"X: ")
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                writer.write(b"x" * 1024 * 1024)
                await writer.drain()
        assert (await reader.readline()).startswith(b"HTTP/1.1 431")
        writer.close()

    async def test_one_that_comes_byte_by_byte_is_read(self, gateway: Served) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        for byte in LAST:
            writer.write(bytes([byte]))
            await writer.drain()
        assert (await closed(reader)).startswith(b"HTTP/1.1 200")
        writer.close()

    @pytest.mark.parametrize(
        "bad",
        [
            b"GET /livez HTTP/1.1\nHost: x\n\n",
            b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n",
            b"GET /livez HTTP/1.1\r\nHost : x\r\n\r\n",
            b"GET /livez HTTP/2.0\r\nHost: localhost\r\n\r\n",
            b"CONNECT x:443 HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GET /livez HTTP/1.1\r\n\r\n",
            b"GET /livez HTTP/1.1\r\nHost: localhost\r\nhost: localhost\r\n\r\n",
            b"GET /livez HTTP/1.0\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
            b"POST /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        ],
    )
    async def test_one_that_breaks_the_rules_of_http_is_a_400(self, gateway: Served, bad: bytes) -> None:
        answer = await raw_request(gateway.port, bad)
        assert answer.status == 400
        assert orjson.loads(answer.body)["code"] == "malformed_request"


class TestTime:
    async def test_a_head_that_does_not_end_is_a_408_and_the_connection_goes(self, redis_url: str) -> None:
        async with served(redis_url, head_seconds=0.5) as gateway:
            clients = [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(500)]
            for _, writer in clients:
                writer.write(HEAD)
            answers = await asyncio.gather(*(closed(reader) for reader, _ in clients))
            assert {answer.split(b"\r\n")[0] for answer in answers} == {b"HTTP/1.1 408 Request Timeout"}
            assert {code(answer) for answer in answers} == {"head_timeout"}
            for _, writer in clients:
                writer.close()
            await until(lambda: not gateway.server.server_state.connections)

    async def test_a_head_that_trickles_in_does_not_win_time(self, redis_url: str) -> None:
        async with served(redis_url, head_seconds=0.5) as gateway:
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(HEAD)
            reading = asyncio.create_task(closed(reader))
            while not reading.done():
                with contextlib.suppress(ConnectionError):
                    writer.write(b"X: y\r\n")
                    await asyncio.sleep(0.05)
            assert reading.result().startswith(b"HTTP/1.1 408")
            writer.close()

    async def test_a_client_that_does_not_leave_after_a_refusal_is_dropped(self, redis_url: str) -> None:
        async with served(redis_url, head_seconds=0.5) as gateway:
            _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(HEAD)
            await until(lambda: bool(gateway.server.server_state.connections))
            await until(lambda: not gateway.server.server_state.connections)
            writer.close()

    @pytest.mark.parametrize("sent", [b"", b"\r\n\r\n", GET, GET + b"\r\n"])
    async def test_a_connection_without_a_request_is_closed(self, redis_url: str, sent: bytes) -> None:
        async with served(redis_url, idle_seconds=0.5) as gateway:
            clients = []
            for _ in range(20):
                clients.append(await asyncio.open_connection("127.0.0.1", gateway.port))
                clients[-1][1].write(sent)
            answers = await asyncio.gather(*(closed(reader) for reader, _ in clients))
            assert {answer.count(b"HTTP/1.1 200") for answer in answers} == {sent.count(b"GET")}
            for _, writer in clients:
                writer.close()

    async def test_a_body_that_nobody_reads_does_not_keep_its_connection(self, redis_url: str) -> None:
        async with served(redis_url, idle_seconds=0.5) as gateway:
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(HEAD + b"Content-Length: 100\r\n\r\nx")
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"x")
            await closed(reader)
            writer.close()

    async def test_a_stream_and_a_body_that_take_longer_are_left_alone(self, redis_url: str) -> None:
        async with served(redis_url, idle_seconds=0.5, head_seconds=0.5, ping_seconds=0.1) as gateway:
            await gateway.offer("scripted")
            await gateway.client.post("/v1/sessions/s/jobs", json=orjson.loads(JOB))
            stream, to_stream = await asyncio.open_connection("127.0.0.1", gateway.port)
            to_stream.write(b"GET /v1/sessions/s/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            post, to_post = await asyncio.open_connection("127.0.0.1", gateway.port)
            to_post.write(POST + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(JOB))
            for byte in JOB:  # some two seconds long
                to_post.write(bytes([byte]))
                await asyncio.sleep(2 / len(JOB))
            assert (await closed(post)).startswith(b"HTTP/1.1 202")
            for _ in range(3):
                await asyncio.wait_for(stream.readuntil(b": ping\n\n"), 20)
            for writer in (to_stream, to_post):
                writer.close()


class TestBody:
    @pytest.mark.parametrize("framing", FRAMED)
    async def test_an_offer_of_another_protocol_is_passed_over_and_the_body_read(
        self, gateway: Served, framing: str
    ) -> None:
        """As Java's HttpClient sends each request."""
        field, body = FRAMED[framing]
        lines = (
            *("POST /v1/jobs HTTP/1.1", "Host: localhost", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c"),
            *("HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA", "Content-Type: application/json", field),
        )
        head = "\r\n".join((*lines, "", "")).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(head + body + HEAD + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + LAST)
        received = await closed(reader)
        assert [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]] == [202, 200, 200]
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(head)
        await until(lambda: bool(gateway.server.server_state.tasks))
        for byte in body:
            writer.write(bytes([byte]))
            await writer.drain()
        assert (await reader.readline()).startswith(b"HTTP/1.1 202")
        writer.close()

    @pytest.mark.parametrize("framing", FRAMED)
    @pytest.mark.parametrize(
        "offer", ["Connection: Upgrade, close\r\nUpgrade: websocket", "Connection: close, Upgrade\r\nUpgrade: h2c"]
    )
    async def test_an_offer_of_another_protocol_on_a_connection_that_closes_is_passed_over(
        self, gateway: Served, framing: str, offer: str
    ) -> None:
        field, body = FRAMED[framing]
        read = await raw_request(gateway.port, HEAD + f"{offer}\r\n\r\n".encode())
        posted = await raw_request(gateway.port, POST + f"{offer}\r\n{field}\r\n\r\n".encode() + body)
        assert (read.status, posted.status) == (200, 202)
        assert read.headers["connection"] == posted.headers["connection"] == "close"

    async def test_nothing_is_read_behind_an_ignored_upgrade_that_closes(self) -> None:
        """A request behind it would be accepted, and never answered."""
        async with small_server() as (port, server, gate):
            gated = b"GET /gate HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\n\r\n"
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(gated + GET)
            await until(lambda: bool(server.server_state.tasks))
            (connection,) = server.server_state.connections
            assert not connection.handler.pipeline  # type: ignore[union-attr]
            gate.set()
            assert (await closed(reader)).endswith(b"open")
            writer.close()

    @pytest.mark.parametrize("end", [b"\r\n", b"Content-Length: 3\r\n\r\nabc"])
    async def test_an_offer_of_another_protocol_over_http_1_0_is_passed_over(self, gateway: Served, end: bytes) -> None:
        """As nginx sends it by default."""
        offer = b"Connection: upgrade\r\nUpgrade: x\r\n"
        answer = await raw_request(gateway.port, b"GET /livez HTTP/1.0\r\nHost: localhost\r\n" + offer + end)
        assert answer.status == 200
        assert answer.headers["connection"] == "close"

    @pytest.mark.parametrize("offer", [b"", b"Connection: Upgrade\r\nUpgrade: h2c\r\n"])
    async def test_an_unknown_transfer_encoding_is_a_400(self, gateway: Served, offer: bytes) -> None:
        answer = await raw_request(gateway.port, POST + offer + b"Transfer-Encoding: gzip\r\n\r\n" + JOB)
        assert (answer.status, orjson.loads(answer.body)["code"]) == (400, "malformed_request")

    @pytest.mark.parametrize("endless", [b"1;" + b"x" * 300_000, b"0\r\nX: " + b"x" * 300_000])
    async def test_chunk_extensions_and_trailers_have_an_end(self, gateway: Served, endless: bytes) -> None:
        answer = await raw_request(gateway.port, CHUNKED + endless)
        assert (answer.status, orjson.loads(answer.body)["code"]) == (400, "malformed_request")

    async def test_a_chunk_that_is_none_is_a_400(self, gateway: Served) -> None:
        assert (await raw_request(gateway.port, CHUNKED + b"no length\r\n")).status == 400

    async def test_bodies_that_never_come_do_not_fill_the_log_when_the_gateway_stops(
        self, processes: Processes, redis_url: str
    ) -> None:
        gateway = processes.gateway(redis_url, HOLDFAST_GATEWAY_GRACE_SECONDS="1")
        await gateway.until_ready()
        port = int(gateway.url.rpartition(":")[2])
        clients = [await asyncio.open_connection("127.0.0.1", port) for _ in range(50)]
        for _, writer in clients:
            writer.write(POST + b"Content-Length: 10\r\n\r\n{")
            await writer.drain()
        gateway.terminate()
        assert await gateway.wait() == 0
        for _, writer in clients:
            writer.close()
        assert "Traceback" not in gateway.output()
        assert '"error"' not in gateway.output()


@contextlib.asynccontextmanager
async def small_server() -> AsyncIterator[tuple[int, GatewayServer, asyncio.Event]]:
    """The port of a server with an app of this test's own. `/gate` answers when the event is set."""
    gate = asyncio.Event()

    async def gated(request: Request) -> Response:
        await gate.wait()
        return Response(b"open")

    async def pieces(request: Request) -> Response:
        return StreamingResponse(part for part in ("a", "b"))

    async def fields(request: Request) -> Response:
        await request.body()
        return JSONResponse([name.decode() for name, _ in request.scope["headers"]])

    app = Starlette(
        routes=[
            Route("/gate", gated),
            Route("/pieces", pieces),
            Route("/fields", fields, methods=["POST"]),
        ]
    )
    http = HttpServer(ConnectionLimits())
    server = GatewayServer(uvicorn.Config(app, port=0, http=http, log_config=None, lifespan="off", ws="none"))  # type: ignore[arg-type]
    serving = asyncio.create_task(server._serve())
    await until(lambda: server.started)
    try:
        yield server.servers[0].sockets[0].getsockname()[1], server, gate
    finally:
        gate.set()
        server.should_exit = True
        await serving


class TestAnswers:
    async def test_http_1_0_gets_no_chunks(self) -> None:
        async with small_server() as (port, _, _):
            old = await raw_request(port, b"GET /pieces HTTP/1.0\r\n\r\n")
            new = await raw_request(port, b"GET /pieces HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert (old.body, old.headers.get("transfer-encoding")) == (b"ab", None)
        assert new.headers["transfer-encoding"] == "chunked"

    async def test_http_1_0_gets_the_bytes_of_a_stream_alone(self, gateway: Served) -> None:
        await gateway.client.post("/v1/sessions/s/jobs", json=orjson.loads(JOB))
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(b"GET /v1/sessions/s/events HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"transfer-encoding" not in head.lower()
        assert await reader.readline() == b"retry: 1000\n"
        gateway.server.should_exit = True
        assert (await closed(reader)).endswith(b"\n\n")
        writer.close()

    async def test_trailer_fields_are_no_header_fields(self) -> None:
        post = b"POST /fields HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        async with small_server() as (port, _, _):
            answer = await raw_request(port, post + b"1\r\nx\r\n0\r\nAuthorization: trailing\r\n\r\n")
        assert orjson.loads(answer.body) == ["host", "transfer-encoding", "connection"]


class TestPipelining:
    GATED = b"GET /gate HTTP/1.1\r\nHost: localhost\r\n\r\n"

    async def test_so_many_requests_are_answered_in_order_and_the_last_one_closes(self) -> None:
        async with small_server() as (port, server, gate):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(self.GATED * 1000)
            await until(lambda: bool(server.server_state.tasks))
            gate.set()
            received = await closed(reader)
            assert received.count(b"HTTP/1.1 200") == 1 + MAX_PIPELINED
            assert received.count(b"connection: close") == 1
            assert received.rpartition(b"HTTP/1.1 200")[2].count(b"connection: close") == 1
            writer.close()

    @pytest.mark.parametrize("behind", [b"no request at all\r\n\r\n", HEAD + b"X: " + b"x" * 40_000 + b"\r\n\r\n"])
    async def test_what_cannot_be_read_closes_behind_the_answer_before(self, behind: bytes) -> None:
        async with small_server() as (port, server, gate):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(self.GATED + behind)
            await until(lambda: bool(server.server_state.tasks))
            gate.set()
            received = await closed(reader)
            assert received.count(b"HTTP/1.1") == 1
            assert received.endswith(b"open")
            writer.close()


KINDS = frozenset({"Connection", "StreamProtocol", "RequestResponseCycle", "FlowControl", "HttpRequestParser"})
WAYS = {
    "answered": GET,
    "refused": HEAD + HEAD,
    "half a head": HEAD[:30],
    "half a body": HEAD + b"Content-Length: 9\r\n\r\nx",
    "in line": GET * 1000,
    "upgrade": HEAD + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    "a stream": b"GET /v1/sessions/s/events HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a stream with a request behind": b"GET /v1/sessions/s/events HTTP/1.1\r\nHost: localhost\r\n\r\n" + GET,
}


class TestForgetting:
    """A gateway collects garbage rarely, so a connection must not leave any behind."""

    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize("reset", [False, True])
    async def test_a_connection_that_has_gone_is_freed_without_the_garbage_collector(
        self, gateway: Served, way: str, reset: bool
    ) -> None:
        await gateway.client.post("/v1/sessions/s/jobs", json=orjson.loads(JOB))
        before = self.living()
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
                writer.write(WAYS[way])
                if "half" not in way:
                    await reader.readline()
                if reset:
                    linger = struct.pack("ii", 1, 0)
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                writer.close()
            await until(lambda: not self.living() - before, 10, lambda: str(self.living() - before))
        finally:
            gc.enable()

    def living(self) -> Counter[str]:
        kinds = (type(thing).__name__ for thing in gc.get_objects())
        return Counter(kind for kind in kinds if kind in KINDS)
