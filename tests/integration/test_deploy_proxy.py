"""deploy/Caddyfile in front of gateways that these tests make up, with the Caddy of the development packages."""

from __future__ import annotations

import asyncio
import subprocess
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx2
import orjson
import pytest
from holdfast.gateway.coding import GZIP

from tests.support.fake_gateway import STREAM, FakeGateway, answering, chunk, gateway
from tests.support.log import Session
from tests.support.ports import free_port
from tests.support.process import Process, Processes, until
from tests.support.proxies import CADDY, CADDYFILE, caddyfile, start_caddy
from tests.support.sse import SseStream
from tests.support.websocket_client import open_socket, receive, request, until_closed

JOB = b'{"agent":"a","input":"%s"}' % (b"x" * 200_000)


async def accepting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read a body with the length that its sender gives, here always the same, and accept it."""
    assert await reader.readexactly(len(JOB)) == JOB
    await answering("{}", "202 Accepted")(reader, writer)


async def dying(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A gateway that takes a request and is gone."""


@dataclass
class Proxy:
    """A running Caddy at `url`, which logs the address of each gateway that it tries."""

    url: str
    process: Process

    def tries(self, address: str) -> int:
        """How often this gateway was tried."""
        return self.process.output().count(f'"dial":"{address}"')


Start = Callable[..., Awaitable[Proxy]]


@pytest.fixture
def start(processes: Processes, tmp_path: Path) -> Start:
    """Starts a proxy in front of gateways at the given addresses, or as it is shipped. `aside`: how long a gateway that
    failed is skipped."""

    async def start(*gateways: str, aside: str = "2s") -> Proxy:
        port = free_port()
        ports = [int(address.partition(":")[2]) for address in gateways]
        process = await start_caddy(processes, tmp_path, caddyfile(port, ports, aside=aside))
        return Proxy(f"http://127.0.0.1:{port}", process)

    return start


@pytest.fixture
def proxy(start: Start) -> Callable[..., Awaitable[str]]:
    """As `start`, and answers the proxy's address."""

    async def address(*gateways: str) -> str:
        return (await start(*gateways)).url

    return address


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
        yield client


@pytest.mark.parametrize("media_type", ["text/event-stream", "application/x-ndjson"])
async def test_a_piece_of_a_stream_arrives_before_the_next_one_is_written(
    proxy: Callable[..., Awaitable[str]], media_type: str
) -> None:
    seen = asyncio.Semaphore(0)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM % media_type.encode())
        for number in range(20):
            writer.write(chunk(b"id: 1-%d\ndata: x\n\n" % number))
            await writer.drain()
            await seen.acquire()

    async with gateway(answer) as fake:
        url = await proxy(fake.address)
        stream = SseStream(f"{url}/v1/sessions/s/events", headers={"Accept": media_type, "Accept-Encoding": "gzip"})
        async with stream:
            assert "content-encoding" not in stream.headers
            frames = aiter(stream)
            for number in range(20):
                assert (await anext(frames)).id == f"1-{number}"
                seen.release()


async def test_a_gateway_hears_at_once_that_its_viewer_has_left(proxy: Callable[..., Awaitable[str]]) -> None:
    left = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM % b"text/event-stream" + chunk(b"data: x\n\n"))
        await reader.read()  # nothing more is ever written: only the closed connection says it
        left.set()

    async with gateway(answer) as fake:
        async with SseStream(f"{await proxy(fake.address)}/v1/sessions/s/events") as stream:
            await anext(aiter(stream))
        await asyncio.wait_for(left.wait(), 30)


@pytest.mark.parametrize("path", ["/v1/sessions/s/events", "/v1/sessions/s/jobs/j/events?raw=true"])
async def test_an_event_source_that_finds_no_gateway_is_told_to_come_back(
    proxy: Callable[..., Awaitable[str]], path: str
) -> None:
    async with SseStream(await proxy() + path, headers={"Connection": "close"}) as stream:
        assert stream.status == 200
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.headers["cache-control"] == "no-cache, no-transform"
        assert [frame async for frame in stream] == []
        assert 1000 <= int(stream.parser.retry_ms or 0) < 2000


async def test_an_event_source_whose_gateway_dies_before_it_answers_is_told_to_come_back(
    proxy: Callable[..., Awaitable[str]],
) -> None:
    async with gateway(dying) as fake:
        url = await proxy(fake.address)
        async with SseStream(f"{url}/v1/sessions/s/events", headers={"Connection": "close"}) as stream:
            assert stream.status == 200
            assert [frame async for frame in stream] == []
            assert stream.parser.retry_ms is not None


@pytest.mark.parametrize(
    ("method", "path", "accept"),
    [
        ("GET", "/v1/sessions/s/events", "application/x-ndjson"),
        ("GET", "/v1/sessions/s", "*/*"),
        ("POST", "/v1/sessions/s/jobs", "*/*"),
        ("POST", "/v1/sessions/s/events", "text/event-stream"),
        ("GET", "/ag-ui/demo/s/events", "*/*"),  # to AG-UI's clients a stream that ends is complete
    ],
)
async def test_everybody_else_who_finds_no_gateway_gets_a_problem(
    proxy: Callable[..., Awaitable[str]], http: httpx2.AsyncClient, method: str, path: str, accept: str
) -> None:
    answer = await http.request(method, await proxy() + path, headers={"Accept": accept})
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) > 0
    problem = answer.json()
    assert (problem["status"], problem["code"]) == (503, "gateway_unavailable")


@pytest.mark.parametrize(("method", "path"), [("POST", "/ag-ui/demo"), ("GET", "/ag-ui/demo")])
async def test_a_client_of_ag_ui_that_resumes_and_finds_no_gateway_is_cut(
    proxy: Callable[..., Awaitable[str]], http: httpx2.AsyncClient, method: str, path: str
) -> None:
    """TanStack AI tries again after a lost connection, but not after an error."""
    url = await proxy() + path
    with pytest.raises(httpx2.RemoteProtocolError):
        await http.request(method, url, headers={"Last-Event-ID": "1763683200123-2.0"})
    assert (await http.request(method, url)).status_code == 503


async def test_a_post_that_a_gateway_took_is_not_sent_to_another(
    proxy: Callable[..., Awaitable[str]], http: httpx2.AsyncClient
) -> None:
    async with gateway(dying) as one, gateway(dying) as other:
        url = await proxy(one.address, other.address)
        for sent in range(1, 5):
            answer = await http.post(f"{url}/v1/jobs", json={"agent": "a"}, headers={"Idempotency-Key": "k"})
            assert answer.status_code == 503
            assert len(one.heads) + len(other.heads) == sent


async def test_a_get_that_a_gateway_took_and_died_of_is_asked_of_another(
    proxy: Callable[..., Awaitable[str]], http: httpx2.AsyncClient
) -> None:
    async with gateway(dying) as one, gateway(answering("{}")) as other:
        url = await proxy(one.address, other.address)
        assert [(await http.get(f"{url}/v1/agents")).status_code for _ in range(4)] == [200] * 4
        assert one.heads


async def test_a_gateway_that_is_not_there_is_passed_over(
    proxy: Callable[..., Awaitable[str]], http: httpx2.AsyncClient
) -> None:
    async with gateway(answering("{}")) as fake:
        url = await proxy(f"127.0.0.1:{free_port()}", fake.address)
        assert [(await http.get(f"{url}/v1/agents")).status_code for _ in range(4)] == [200] * 4


async def post(http: httpx2.AsyncClient, url: str) -> int:
    return (await http.post(f"{url}/v1/jobs", content=JOB, headers={"Content-Type": "application/json"})).status_code


async def test_f73_a_post_that_meets_a_gateway_that_is_not_there_reaches_another_one_whole(
    proxy: Callable[..., Awaitable[str]], http: httpx2.AsyncClient
) -> None:
    async with gateway(accepting) as fake:
        url = await proxy(f"127.0.0.1:{free_port()}", fake.address)
        assert [await post(http, url) for _ in range(6)] == [202] * 6
        assert len(fake.heads) == 6


async def test_f73_no_post_fails_while_a_gateway_goes_and_comes_again(start: Start, http: httpx2.AsyncClient) -> None:
    """It goes between two requests: one that it has taken may fail."""
    port, statuses = free_port(), []
    async with gateway(accepting) as steady:

        async def post_until(fakes: list[FakeGateway]) -> None:
            """Post several at once until each of the gateways has got one."""
            while not all(fake.heads for fake in fakes):
                statuses.extend(await asyncio.gather(*(post(http, running.url) for _ in range(4))))

        async with gateway(accepting, port) as other:
            running = await start(steady.address, other.address)
            await post_until([steady, other])
        before = running.tries(other.address)
        while running.tries(other.address) < before + 4:
            statuses.extend(await asyncio.gather(*(post(http, running.url) for _ in range(4))))
        async with gateway(accepting, port) as again:
            await post_until([again])
    assert set(statuses) == {202}
    assert len(steady.heads) + len(other.heads) + len(again.heads) == len(statuses)


async def test_a_gateway_that_refused_a_connection_is_skipped_by_all_requests(
    start: Start, http: httpx2.AsyncClient
) -> None:
    dead = f"127.0.0.1:{free_port()}"
    async with gateway(answering("{}")) as fake:
        running = await start(dead, fake.address, aside="10m")
        assert [(await http.get(f"{running.url}/v1/agents")).status_code for _ in range(8)] == [200] * 8
        fake.answer = accepting
        assert [await post(http, running.url) for _ in range(8)] == [202] * 8
        assert running.tries(dead) == 1


async def test_a_gateway_that_comes_back_gets_requests_again(start: Start, http: httpx2.AsyncClient) -> None:
    port = free_port()
    async with gateway(answering("{}")) as fake:
        running = await start(f"127.0.0.1:{port}", fake.address)
        await until(lambda: tried(running, http, f"127.0.0.1:{port}"))
        async with gateway(answering("{}"), port) as back:
            await until(lambda: got(running, http, back))


async def tried(running: Proxy, http: httpx2.AsyncClient, address: str) -> bool:
    await http.get(f"{running.url}/v1/agents")
    return running.tries(address) > 0


async def got(running: Proxy, http: httpx2.AsyncClient, fake: FakeGateway) -> bool:
    await http.get(f"{running.url}/v1/agents")
    return bool(fake.heads)


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param("Content-Length: 100\r\n\r\nhalf", id="half a body"),
        pytest.param("Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz", id="a chunk without a length"),
    ],
)
async def test_a_client_that_breaks_off_takes_no_gateway_out(
    start: Start, http: httpx2.AsyncClient, broken: str
) -> None:
    async def reading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with gateway(reading) as fake:
        running = await start(fake.address, aside="10m")
        _, writer = await asyncio.open_connection("127.0.0.1", int(running.url.rpartition(":")[2]))
        writer.write(f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\n{broken}".encode())
        await until(lambda: bool(fake.heads))
        writer.close()
        await running.process.until_output('"msg":"upstream roundtrip"')
        fake.answer = answering("{}")
        assert (await http.get(f"{running.url}/v1/agents")).status_code == 200


def test_only_a_request_without_a_body_can_mark_a_gateway() -> None:
    """Read from the configuration: whether Caddy counts a client that breaks off depends on what it notices first."""
    command = [str(CADDY), "adapt", "--config", str(CADDYFILE), "--adapter", "caddyfile"]
    adapted = subprocess.run(command, capture_output=True, check=True).stdout
    (server,) = orjson.loads(adapted)["apps"]["http"]["servers"].values()
    marking = [route for route in server["routes"] if b'"fail_duration"' in orjson.dumps(route["handle"])]
    with_body = [{"header": {"Transfer-Encoding": ["*"]}}, {"header_regexp": {"Content-Length": {"pattern": "[1-9]"}}}]
    assert [route["match"] for route in marking] == [[{"not": with_body}]]


@pytest.mark.parametrize("media_type", ["text/event-stream", "application/x-ndjson"])
async def test_a_stream_that_a_gateway_cuts_is_cut_for_its_viewer_too(
    proxy: Callable[..., Awaitable[str]], media_type: str
) -> None:
    """A clean end would say that nothing comes any more."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM % media_type.encode() + chunk(b"id: 1-1\ndata: x\n\n"))
        await writer.drain()

    async with gateway(answer) as fake:
        stream = SseStream(f"{await proxy(fake.address)}/v1/sessions/s/events", headers={"Accept": media_type})
        async with stream:
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                async for _ in stream.chunks():
                    pass
        assert bytes(stream.body) == b"id: 1-1\ndata: x\n\n"


@pytest.mark.parametrize("path", ["/v1/sessions/s/events", "/v1/sessions/s"])
async def test_pages_of_other_origins_can_read_that_no_gateway_is_there(
    proxy: Callable[..., Awaitable[str]], http: httpx2.AsyncClient, path: str
) -> None:
    """Otherwise their EventSource gives up for good."""
    answer = await http.get(await proxy() + path, headers={"Origin": "https://app.example"})
    assert answer.headers["access-control-allow-origin"] == "*"


async def test_a_compressed_stream_passes_as_it_is_and_at_once(proxy: Callable[..., Awaitable[str]]) -> None:
    encoder, seen = GZIP.encoder(), asyncio.Semaphore(0)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n") % b"text/event-stream")
        for number in range(20):
            writer.write(chunk(encoder.encode(b"data: %d\n\n" % number, last=False)))
            await writer.drain()
            await seen.acquire()

    decoder = zlib.decompressobj(31)
    async with gateway(answer) as fake:
        url = f"{await proxy(fake.address)}/v1/sessions/s/jobs/j/events"
        async with SseStream(url, headers={"Accept-Encoding": "gzip"}) as stream:
            assert stream.headers["content-encoding"] == "gzip"
            chunks = aiter(stream.chunks())
            for number in range(20):
                assert decoder.decompress(await anext(chunks)) == b"data: %d\n\n" % number
                seen.release()


async def test_what_a_gateway_answers_passes_unchanged_and_says_which_one_it_was(
    proxy: Callable[..., Awaitable[str]], http: httpx2.AsyncClient
) -> None:
    refusal = answering('{"code":"session_unknown"}', "404 Not Found", "application/problem+json")
    async with gateway(refusal) as fake:
        answer = await http.get(await proxy(fake.address) + "/v1/sessions/s/events")
        assert answer.status_code == 404
        assert answer.text == '{"code":"session_unknown"}'
        assert answer.headers["holdfast-gateway"] == fake.address
        assert "server" not in answer.headers


async def test_a_gateway_s_own_503_keeps_its_reasons(
    proxy: Callable[..., Awaitable[str]], http: httpx2.AsyncClient
) -> None:
    async with gateway(answering('{"code":"not_ready"}', "503 Service Unavailable")) as fake:
        answer = await http.get(await proxy(fake.address) + "/readyz")
        assert (answer.status_code, answer.text) == (503, '{"code":"not_ready"}')


async def test_headers_of_more_than_32_kib_are_refused(proxy: Callable[..., Awaitable[str]]) -> None:
    """As many bytes as the proxy reads, since it resets a connection with unread ones, and the answer with it."""
    read = 32_000 + 4096
    async with gateway(answering("{}")) as fake:
        url = await proxy(fake.address)
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX-Large: ".ljust(read, b"x"))
        assert (await asyncio.wait_for(reader.read(), 60)).startswith(b"HTTP/1.1 431 ")
        writer.close()
        assert fake.heads == []


async def test_a_request_whose_headers_do_not_come_to_an_end_is_closed(proxy: Callable[..., Awaitable[str]]) -> None:
    url = await proxy()
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
    assert await asyncio.wait_for(reader.read(), 60) == b""
    writer.close()


async def test_the_proxy_ends_within_its_grace_time_though_streams_are_open(start: Start) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM % b"text/event-stream" + chunk(b"data: x\n\n"))
        await reader.read()

    async with gateway(answer) as fake:
        running = await start(fake.address)
        async with SseStream(f"{running.url}/v1/sessions/s/events") as stream:
            await anext(aiter(stream))
            running.process.terminate()
            await until(lambda: not running.process.running)


async def test_a_gateway_behind_the_proxy_sees_the_host_that_its_page_was_loaded_from(
    processes: Processes, redis_url: str, start: Start, http: httpx2.AsyncClient
) -> None:
    real = processes.gateway(redis_url, port=None, HOLDFAST_ALLOWED_HOSTS="gateway,proxy")
    await real.until_ready()
    url = (await start(real.url.removeprefix("http://"))).url
    assert (await http.get(f"{url}/")).status_code == 200
    for headers, code in (
        ({"Origin": url, "Sec-Fetch-Site": "same-origin"}, "session_unknown"),
        ({"Origin": url}, "session_unknown"),
        ({"Host": "gateway:8000"}, "session_unknown"),
        ({"Host": "evil.example"}, "host_not_allowed"),
        ({"Origin": "https://evil.example"}, "origin_not_allowed"),
    ):
        answer = await http.post(f"{url}/v1/sessions/s/jobs/j/cancel", headers=headers)
        assert answer.json()["code"] == code


async def test_a_websocket_passes_both_ways_with_its_close_code(
    processes: Processes, redis_url: str, session: Session, start: Start
) -> None:
    attempt = await session.started()
    real = processes.gateway(redis_url)
    await real.until_ready()
    port = int((await start(real.url.removeprefix("http://"))).url.rpartition(":")[2])
    async with open_socket(port) as socket:
        assert (await receive(socket))["id"] == f"{attempt.epoch}-1"
        assert (await request(socket, type="cancel", job_id="j1"))["status"] == "running"
        real.terminate()
        assert (await until_closed(socket))[1] == 1013
